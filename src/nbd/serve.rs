//! One client, from the handshake to its end.

use std::io;
use std::pin::pin;

use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::connection::transmit;
use super::negotiation::negotiate;
use super::server::NbdServer;

impl NbdServer {
    /// Serves one client until it goes away. At most 64 MiB of its requests are under way at a time; what is larger than 32 MiB is
    /// refused.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the client does not speak the protocol, `UnexpectedEof` if it stops half-way, and those of the stream. The
    /// server goes on.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (mut input, mut output) = stream.split();
        match negotiate(self, &mut input, &mut output).await? {
            Some(agreed) => {
                let disk = agreed.disk.clone();
                let served = transmit(agreed, input, output);
                let served = match select(pin!(served), pin!(disk.attend_boot())).await {
                    Either::Left((served, _)) => served,
                    Either::Right(((), served)) => served.await,
                };
                // A boot is as good without it.
                let _ = disk.save_boot_set().await;
                served
            }
            None => Ok(()),
        }
    }
}
