//! One client, from the handshake to its end.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::connection::transmit;
use super::negotiation::negotiate;
use super::server::NbdServer;

/// A client has chosen its disk by then.
const HANDSHAKE: Duration = Duration::from_secs(30);

impl NbdServer {
    /// Serves one client until it goes away: a VM may read nothing for days. At most 64 MiB of its requests are under way at a time; what is larger than 32 MiB is
    /// refused.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the client does not speak the protocol, `UnexpectedEof` if it stops half-way, `TimedOut` if it has not chosen a
    /// disk after 30 seconds, and those of the stream. The server goes on.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (mut input, mut output) = stream.split();
        let agreed = match select(pin!(negotiate(self, &mut input, &mut output)), self.clock().timeout(HANDSHAKE)).await
        {
            Either::Left((agreed, _)) => agreed?,
            Either::Right(_) => {
                let what = format!("the client has not chosen a disk after {} seconds", HANDSHAKE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        };
        match agreed {
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
