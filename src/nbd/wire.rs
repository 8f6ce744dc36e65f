//! The numbers of the protocol, and its frames.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(super) const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Handshake flags, of both sides.
pub(super) const FIXED_NEWSTYLE: u16 = 1;
pub(super) const NO_ZEROES: u16 = 2;

/// A request: its data, if it has any, follow it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
}

pub(super) async fn number<const N: usize>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Reads `length` bytes and forgets them.
pub(super) async fn skip(from: &mut (impl AsyncRead + Unpin), length: u32) -> io::Result<()> {
    let skipped = futures::io::copy(from.take(length.into()), &mut futures::io::sink()).await?;
    if skipped == u64::from(length) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

pub(super) fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What goes to the client for a request, in pieces that are written one behind the other. The bytes of the disk are those of the cache.
pub(super) type Reply = Vec<Bytes>;

/// The pieces of one write.
const PIECES: usize = 64;

/// Writes pieces, as many of them at a time as the stream takes.
pub(super) async fn write_all(output: &mut (impl AsyncWrite + Unpin), mut pieces: VecDeque<Bytes>) -> io::Result<()> {
    pieces.retain(|piece| !piece.is_empty());
    while !pieces.is_empty() {
        let slices: Vec<IoSlice<'_>> = pieces.iter().take(PIECES).map(|piece| IoSlice::new(piece)).collect();
        let mut written = output.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = pieces.front_mut().filter(|_| written > 0) {
            let taken = written.min(first.len());
            first.advance(taken);
            written -= taken;
            if first.is_empty() {
                pieces.pop_front();
            }
        }
    }
    Ok(())
}

/// Zeros, in pieces.
pub(super) fn zeros(mut length: u64) -> impl Iterator<Item = Bytes> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    std::iter::from_fn(move || {
        let piece = length.min(ZEROS.len() as u64);
        length -= piece;
        (piece > 0).then(|| Bytes::from_static(&ZEROS).slice(..piece as usize))
    })
}

pub(super) fn simple_reply(cookie: u64, error: u32, data: Vec<Bytes>) -> Reply {
    let mut head = Vec::with_capacity(16);
    head.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
    head.extend(error.to_be_bytes());
    head.extend(cookie.to_be_bytes());
    std::iter::once(head.into()).chain(data).collect()
}

/// The kinds of chunks of a structured reply.
pub(super) enum Chunk {
    /// No more than that it is done.
    Nothing,
    Data {
        offset: u64,
        data: Vec<Bytes>,
    },
    Hole {
        offset: u64,
        length: u32,
    },
    /// The context's number, then lengths and flags.
    Status {
        context: u32,
        extents: Vec<(u32, u32)>,
    },
    Error {
        error: u32,
        message: String,
    },
}

pub(super) fn chunk(cookie: u64, last: bool, chunk: Chunk) -> Reply {
    let mut body = Vec::new();
    let (kind, data) = match chunk {
        Chunk::Nothing => (0, Vec::new()),
        Chunk::Data { offset, data } => {
            body.extend(offset.to_be_bytes());
            (1, data)
        }
        Chunk::Hole { offset, length } => {
            body.extend(offset.to_be_bytes());
            body.extend(length.to_be_bytes());
            (2, Vec::new())
        }
        Chunk::Status { context, extents } => {
            body.extend(context.to_be_bytes());
            for (length, flags) in extents {
                body.extend(length.to_be_bytes());
                body.extend(flags.to_be_bytes());
            }
            (5, Vec::new())
        }
        Chunk::Error { error, message } => {
            let message = message.as_bytes();
            let message = message.get(..message.len().min(4096)).unwrap_or_default();
            body.extend(error.to_be_bytes());
            body.extend((message.len() as u16).to_be_bytes());
            body.extend(message);
            ((1 << 15) + 1, Vec::new())
        }
    };
    let length = body.len() + data.iter().map(Bytes::len).sum::<usize>();
    let mut head = Vec::with_capacity(20 + body.len());
    head.extend(CHUNK_MAGIC.to_be_bytes());
    head.extend(u16::from(last).to_be_bytes());
    head.extend((kind as u16).to_be_bytes());
    head.extend(cookie.to_be_bytes());
    head.extend((length as u32).to_be_bytes());
    head.extend(body);
    std::iter::once(head.into()).chain(data).collect()
}
