//! Sockets of the server's own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use async_io::Async;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};

use super::server::NbdServer;
use crate::error::{Error, ErrorKind, Result};

impl NbdServer {
    /// Listens on a Unix socket and serves its clients, for ever; dropping the future ends it. The socket of a process that is gone is
    /// replaced. Who may connect is decided by the rights of the directory.
    ///
    /// # Errors
    ///
    /// `Conflict` if another process listens there, or the path is no socket; `NotFound`, `Unavailable`.
    #[cfg(unix)]
    pub async fn listen_unix(&self, path: impl AsRef<Path>) -> Result<()> {
        use std::os::unix::fs::FileTypeExt;
        use std::os::unix::net::{UnixListener, UnixStream};

        let path = path.as_ref();
        let target = path.display().to_string();
        let conflict = |what: &str| Error::conflict(target.as_str(), what);
        match path.symlink_metadata() {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(conflict("it is there, and no socket: choose another path"));
            }
            Ok(_) => match UnixStream::connect(path) {
                // Nobody listens: its process was killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)
                        .map_err(|error| Error::from_io(&*target, "replacing the socket", error))?;
                }
                _ => return Err(conflict("another process listens there: end it, or choose another path")),
            },
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).and_then(Async::new);
        let listener = listener.map_err(|error| Error::from_io(&*target, "listening on the socket", error))?;
        let _removed = Removed(path);
        self.accept(async || Ok(listener.accept().await?.0)).await
    }

    /// As [`listen_unix`](Self::listen_unix), on a port of the loopback interface: the protocol has no users and no encryption.
    ///
    /// # Errors
    ///
    /// `Invalid` for another address; `Unavailable` if the port is taken.
    pub async fn listen_tcp(&self, address: SocketAddr) -> Result<()> {
        if !address.ip().is_loopback() {
            let what = "it is not of the loopback interface, and anyone could read the disk: listen on `127.0.0.1`, and put TLS in front \
                        (or hand streams of your own to `NbdServer::serve`)";
            return Err(Error::invalid(address.to_string(), what));
        }
        let listener = TcpListener::bind(address).and_then(Async::new);
        let listener = listener.map_err(|error| Error::from_io(address.to_string(), "listening on the port", error))?;
        self.accept(async || {
            let stream: Async<TcpStream> = listener.accept().await?.0;
            stream.get_ref().set_nodelay(true)?;
            Ok(stream)
        })
        .await
    }

    async fn accept<S>(&self, accept: impl AsyncFn() -> io::Result<S>) -> Result<()>
    where
        S: futures::io::AsyncRead + futures::io::AsyncWrite + Unpin,
    {
        let mut clients = FuturesUnordered::new();
        // A row of failures means that it will not get better.
        let mut failures = 0;
        loop {
            let next = match clients.is_empty() {
                true => Some(accept().await),
                false => match select(std::pin::pin!(accept()), clients.next()).await {
                    Either::Left((stream, _)) => Some(stream),
                    // A client that breaks the protocol or goes away harms no other.
                    Either::Right(_) => None,
                },
            };
            match next {
                None => {}
                Some(Ok(stream)) => {
                    failures = 0;
                    clients.push(self.serve(stream));
                }
                Some(Err(_)) if failures < 100 => failures += 1,
                Some(Err(error)) => {
                    let what = "clients can't be accepted: free file descriptors, then listen again";
                    return Err(
                        Error::of(ErrorKind::Unavailable, "OperationNotAllowed", "socket", what).with_source(error)
                    );
                }
            }
        }
    }
}

/// The path of a socket, removed when it is no longer listened on.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // The next server replaces it.
        let _ = std::fs::remove_file(self.0);
    }
}
