//! Requests and replies of one client.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use futures::stream::{FuturesUnordered, StreamExt};

use super::negotiation::{ALLOCATION_NUMBER, Agreed, MAX_REQUEST_BYTES};
use super::wire::{Chunk, REQUEST_MAGIC, Reply, Request, chunk, number, simple_reply, skip, write_all, wrong, zeros};
use super::{command, errno};
use crate::image::random_access::Part;

/// The bytes of a client's requests that are under way at a time, and their number.
const BYTES_UNDER_WAY: u64 = 64 << 20;
const REQUESTS_UNDER_WAY: usize = 64;

/// A client that keeps many requests under way sends them together: they are read together.
const INPUT_BYTES: usize = 8 << 10;

/// What is fetched ahead of a client that reads on and on.
const AHEAD_BYTES: u64 = 4 << 20;

/// The extents of a reply are looked for in so much of the disk.
const STATUS_BYTES: u64 = 1 << 30;

/// Answers requests, each when it is done, until the client disconnects.
pub(super) async fn transmit(
    agreed: Agreed,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let agreed = &agreed;
    let mut under_way: FuturesUnordered<BoxFuture<'_, (u64, Reply)>> = FuturesUnordered::new();
    let mut bytes = 0;
    let mut ahead = Ahead::default();
    let mut next = Some(Box::pin(next_request(BufReader::with_capacity(INPUT_BYTES, input))));
    loop {
        let waits = bytes >= BYTES_UNDER_WAY || under_way.len() >= REQUESTS_UNDER_WAY;
        let happened = match next.take() {
            None if under_way.is_empty() => return output.close().await,
            Some(request) if under_way.is_empty() => Either::Left(request.await?),
            Some(request) if !waits => match select(request, under_way.next()).await {
                Either::Left((request, _)) => Either::Left(request?),
                Either::Right((reply, request)) => {
                    next = Some(request);
                    Either::Right(reply)
                }
            },
            pending => {
                next = pending;
                Either::Right(under_way.next().await)
            }
        };
        match happened {
            Either::Left((None, _)) => {}
            Either::Left((Some(request), input)) => {
                next = Some(Box::pin(next_request(input)));
                // Not more than it may ask for.
                let length = u64::from(request.length.min(MAX_REQUEST_BYTES));
                let counts = if request.command == command::READ { length } else { 0 };
                bytes += counts;
                if !agreed.disk.is_of_known_boot(request.offset)
                    && let Some(range) = ahead.after(&request, agreed.disk.size())
                {
                    // The client's own requests report what fails.
                    let fetch = agreed.disk.fetch_ahead(range).map(|_| (0, Reply::new()));
                    under_way.push(fetch.boxed());
                }
                under_way.push(agreed.reply(request).map(move |reply| (counts, reply)).boxed());
            }
            Either::Right(Some((counted, reply))) => {
                bytes -= counted;
                let mut replies = VecDeque::from(reply);
                // Together with those that are ready.
                while let Some(Some((counted, reply))) = under_way.next().now_or_never() {
                    bytes -= counted;
                    replies.extend(reply);
                }
                write_all(&mut output, replies).await?;
                output.flush().await?;
            }
            Either::Right(None) => {}
        }
    }
}

/// Reads a request, and hands the stream on; `None` when the client disconnects.
async fn next_request<S: AsyncRead + Unpin>(mut input: S) -> io::Result<(Option<Request>, S)> {
    let bytes: [u8; 28] = match number(&mut input).await {
        Ok(bytes) => bytes,
        // Clients go away without a word, too.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok((None, input)),
        Err(error) => return Err(error),
    };
    let [magic, _, _, _, _, _, length] =
        std::array::from_fn(|at| bytes.as_chunks::<4>().0.get(at).copied().map_or(0, u32::from_be_bytes));
    if magic != REQUEST_MAGIC {
        return Err(wrong(format!("a request begins with `{magic:#010x}` and not with {REQUEST_MAGIC:#010x}")));
    }
    let u16_at = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u16::from_be_bytes);
    let u64_at = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u64::from_be_bytes);
    let request = Request { flags: u16_at(4), command: u16_at(6), cookie: u64_at(8), offset: u64_at(16), length };
    match request.command {
        command::DISCONNECT => return Ok((None, input)),
        command::WRITE => {
            if length > MAX_REQUEST_BYTES {
                return Err(wrong(format!(
                    "a write of `{length}` bytes, above {MAX_REQUEST_BYTES}, to a read-only disk"
                )));
            }
            skip(&mut input, length).await?;
        }
        _ => {}
    }
    Ok((Some(request), input))
}

impl Agreed {
    async fn reply(&self, request: Request) -> Reply {
        let Request { command, cookie, .. } = request;
        let outcome = match command {
            command::READ => self.read(&request).await,
            command::BLOCK_STATUS if self.allocation => self.status(&request).await,
            command::CACHE => match self.range(&request) {
                Ok(range) => {
                    let fetched = self.disk.fetch_ahead(range).await.map_err(|error| (errno::IO, error.to_string()));
                    fetched.map(|()| self.done(cookie))
                }
                Err(refused) => Err(refused),
            },
            // Nothing is ever written: all of it is on the disk.
            command::FLUSH => Ok(self.done(cookie)),
            command::WRITE | command::TRIM | command::WRITE_ZEROES => {
                Err((errno::PERMISSION, "the disk is read-only".into()))
            }
            other => Err((errno::INVALID, format!("the command `{other}` is unknown, or was not agreed upon"))),
        };
        outcome.unwrap_or_else(|(error, message)| match self.structured {
            true => chunk(cookie, true, Chunk::Error { error, message }),
            false => simple_reply(cookie, error, Vec::new()),
        })
    }

    fn done(&self, cookie: u64) -> Reply {
        if self.structured { chunk(cookie, true, Chunk::Nothing) } else { simple_reply(cookie, 0, Vec::new()) }
    }

    fn range(&self, request: &Request) -> Result<Range<u64>, (u32, String)> {
        let (start, size) = (request.offset, self.disk.size());
        match start.checked_add(request.length.into()) {
            Some(end) if end <= size && request.length > 0 => Ok(start..end),
            _ => Err((
                errno::INVALID,
                format!("{} bytes from {start} on are not inside the disk of {size}", request.length),
            )),
        }
    }

    async fn read(&self, request: &Request) -> Result<Reply, (u32, String)> {
        let (cookie, range) = (request.cookie, self.range(request)?);
        if request.length > MAX_REQUEST_BYTES {
            return Err((errno::OVERFLOW, format!("{} bytes are more than {MAX_REQUEST_BYTES}", request.length)));
        }
        let mut offset = range.start;
        let parts = self.disk.parts(range).await.map_err(|error| (errno::IO, error.to_string()))?;
        let in_one = !self.structured || request.flags & command::DONT_FRAGMENT != 0;
        if in_one {
            let mut data = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    Part::Data(bytes) => data.push(bytes),
                    Part::Zeros(length) => data.extend(zeros(length)),
                }
            }
            return Ok(match self.structured {
                true => chunk(cookie, true, Chunk::Data { offset, data }),
                false => simple_reply(cookie, 0, data),
            });
        }
        let (mut reply, mut parts) = (Reply::new(), parts.into_iter().peekable());
        while let Some(part) = parts.next() {
            let (piece, length) = match part {
                Part::Zeros(length) => (Chunk::Hole { offset, length: length as u32 }, length),
                Part::Data(first) => {
                    let mut data = vec![first];
                    while let Some(Part::Data(next)) = parts.next_if(|part| matches!(part, Part::Data(_))) {
                        data.push(next);
                    }
                    let length = data.iter().map(|data| data.len() as u64).sum();
                    (Chunk::Data { offset, data }, length)
                }
            };
            reply.extend(chunk(cookie, parts.peek().is_none(), piece));
            offset += length;
        }
        Ok(reply)
    }

    async fn status(&self, request: &Request) -> Result<Reply, (u32, String)> {
        let Range { start, end } = self.range(request)?;
        let looked = start..end.min(start + STATUS_BYTES);
        let extents = self.disk.extents(looked).await.map_err(|error| (errno::IO, error.to_string()))?;
        let most = if request.flags & command::ONE_EXTENT != 0 { 1 } else { usize::MAX };
        // A hole reads as zeros.
        let flags = |is_data: bool| if is_data { 0 } else { 0b11 };
        let told = extents
            .into_iter()
            .take(most)
            .map(|(extent, is_data)| ((extent.end - extent.start) as u32, flags(is_data)));
        let status = Chunk::Status { context: ALLOCATION_NUMBER, extents: told.collect() };
        Ok(chunk(request.cookie, true, status))
    }
}

/// Notices that a client reads on and on.
#[derive(Debug, Default)]
struct Ahead {
    /// The furthest byte that was read, and up to where it is fetched.
    end: u64,
    fetched: u64,
}

impl Ahead {
    /// Returns what to fetch before it is asked for.
    fn after(&mut self, request: &Request, size: u64) -> Option<Range<u64>> {
        if request.command != command::READ {
            return None;
        }
        let end = request.offset.saturating_add(request.length.into());
        // Requests that are under way together come in any order.
        let near = request.offset.abs_diff(self.end) <= AHEAD_BYTES / 4;
        if !near || self.end == 0 {
            (self.end, self.fetched) = (end, end);
            return None;
        }
        if end <= self.end {
            return None;
        }
        self.end = end;
        // Half of it at a time, so that one fetch covers many requests.
        let wanted = end.saturating_add(AHEAD_BYTES).min(size);
        let from = self.fetched.max(end);
        if wanted < from + AHEAD_BYTES / 2 {
            return None;
        }
        self.fetched = wanted;
        Some(from..wanted)
    }
}
