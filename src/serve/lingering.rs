//! Connections that end with their answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client may go on sending after the last answer of its connection.
const LINGER: Duration = Duration::from_secs(5);

/// A connection that reads on, and forgets what it reads, after it was shut down: until the client has closed it too. A socket that is
/// closed with bytes unread is reset, and a client that still sends would lose the answer that says why.
#[derive(Debug)]
pub(super) struct Lingering<T> {
    stream: T,
    /// Once the sending side is shut down.
    until: Option<Pin<Box<Sleep>>>,
}

impl<T> Lingering<T> {
    pub(super) fn new(stream: T) -> Self {
        Self { stream, until: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lingering<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, until } = &mut *self;
        let until = match until {
            Some(until) => until,
            None => {
                ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
                until.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        let mut forgotten = [0; 8 << 10];
        while until.as_mut().poll(cx).is_pending() {
            let mut read = ReadBuf::new(&mut forgotten);
            // An error ends it as well: the client has reset the connection.
            if ready!(Pin::new(&mut *stream).poll_read(cx, &mut read)).is_err() || read.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
