//! The handshake: which disk, and which extensions.

use std::io;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::server::NbdServer;
use super::wire::{FIXED_NEWSTYLE, NBD_MAGIC, NO_ZEROES, OPTION_MAGIC, OPTION_REPLY_MAGIC, number, skip, wrong};
use super::{answer, option};
use crate::service::deploy::reader::ImageReader;

/// The most bytes of an option: a name of 4 KiB, and many contexts.
const MAX_OPTION_BYTES: u32 = 64 << 10;

/// The most options of a handshake: a client that goes on for ever is sent away.
const MAX_OPTIONS: usize = 1000;

/// The largest request, as all clients assume it.
pub(super) const MAX_REQUEST_BYTES: u32 = 32 << 20;

/// The one context: which ranges are holes.
const ALLOCATION: &[u8] = b"base:allocation";
pub(super) const ALLOCATION_NUMBER: u32 = 1;

/// Read-only, in pieces or in one, by any number of connections, to be fetched ahead.
const FLAGS: u16 = 1 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 10;
const DONT_FRAGMENT: u16 = 1 << 7;

/// What client and server agreed upon.
pub(super) struct Agreed {
    pub(super) disk: ImageReader,
    pub(super) structured: bool,
    pub(super) allocation: bool,
}

/// `None` if the client ends it.
pub(super) async fn negotiate(
    server: &NbdServer,
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Option<Agreed>> {
    let mut greeting = Vec::with_capacity(18);
    greeting.extend(NBD_MAGIC.to_be_bytes());
    greeting.extend(OPTION_MAGIC.to_be_bytes());
    greeting.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    output.write_all(&greeting).await?;
    let flags = u32::from_be_bytes(number(input).await?);
    if flags & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(wrong(format!("the client's flags are `{flags:#x}`, of which some are unknown")));
    }
    let (mut structured, mut allocation) = (false, None::<Vec<u8>>);
    for _ in 0..MAX_OPTIONS {
        let magic = u64::from_be_bytes(number(input).await?);
        if magic != OPTION_MAGIC {
            return Err(wrong(format!("an option begins with `{magic:#018x}` and not with `IHAVEOPT`")));
        }
        let [kind, length] = [number(input).await?, number(input).await?].map(u32::from_be_bytes);
        let mut answers = Answers { option: kind, bytes: Vec::new() };
        if length > MAX_OPTION_BYTES {
            if kind == option::EXPORT_NAME {
                return Err(wrong(format!("a name of `{length}` bytes, above {MAX_OPTION_BYTES}")));
            }
            skip(input, length).await?;
            answers.error(answer::TOO_BIG, "the option is longer than 64 KiB");
            output.write_all(&answers.bytes).await?;
            continue;
        }
        let mut data = vec![0; length as usize];
        input.read_exact(&mut data).await?;
        let mut chosen = None;
        match kind {
            option::EXPORT_NAME => {
                // This option has no answer but the disk, or the end.
                let Some(disk) = server.export(&data) else {
                    return Err(wrong(format!("there is no disk `{}`", data.escape_ascii())));
                };
                let mut bytes = disk.size().to_be_bytes().to_vec();
                bytes.extend(flags_of(structured).to_be_bytes());
                bytes.resize(bytes.len() + if flags & u32::from(NO_ZEROES) == 0 { 124 } else { 0 }, 0);
                output.write_all(&bytes).await?;
                let allocation = structured && allocation.as_ref() == Some(&data);
                return Ok(Some(Agreed { disk: disk.clone(), structured, allocation }));
            }
            option::ABORT => {
                answers.add(answer::ACK, &[]);
                // The client may be gone already.
                let _ = output.write_all(&answers.bytes).await;
                return Ok(None);
            }
            option::LIST if data.is_empty() => {
                for name in server.names() {
                    answers.add(answer::SERVER, &[&(name.len() as u32).to_be_bytes(), name.as_bytes()]);
                }
                answers.add(answer::ACK, &[]);
            }
            option::STRUCTURED_REPLY if data.is_empty() => {
                structured = true;
                answers.add(answer::ACK, &[]);
            }
            option::INFO | option::GO => match asked_disk(&data) {
                None => answers.error(answer::INVALID, "the option's lengths do not add up"),
                Some((name, rest)) if is_list_of_numbers(rest) => match server.export(name) {
                    None => answers.error(answer::UNKNOWN, "there is no disk of this name"),
                    Some(disk) => {
                        let size = disk.size().to_be_bytes();
                        answers.add(answer::INFO, &[&[0, 0], &size, &flags_of(structured).to_be_bytes()]);
                        let sizes = [512_u32, 64 << 10, MAX_REQUEST_BYTES].map(u32::to_be_bytes).concat();
                        answers.add(answer::INFO, &[&[0, 3], &sizes]);
                        answers.add(answer::ACK, &[]);
                        if kind == option::GO {
                            let allocation = structured && allocation.as_deref() == Some(name);
                            chosen = Some(Agreed { disk: disk.clone(), structured, allocation });
                        }
                    }
                },
                Some(_) => answers.error(answer::INVALID, "the option's lengths do not add up"),
            },
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT if structured => {
                let sets = kind == option::SET_META_CONTEXT;
                match asked_contexts(&data) {
                    None => answers.error(answer::INVALID, "the option's lengths do not add up"),
                    Some((name, _)) if server.export(name).is_none() => {
                        answers.error(answer::UNKNOWN, "there is no disk of this name");
                    }
                    Some((name, queries)) => {
                        let all = !sets && (queries.is_empty() || queries.contains(&&b"base:"[..]));
                        let asked = all || queries.contains(&ALLOCATION);
                        if asked {
                            let number = if sets { ALLOCATION_NUMBER } else { 0 };
                            answers.add(answer::META_CONTEXT, &[&number.to_be_bytes(), ALLOCATION]);
                        }
                        if sets {
                            allocation = asked.then(|| name.to_vec());
                        }
                        answers.add(answer::ACK, &[]);
                    }
                }
            }
            option::LIST | option::STRUCTURED_REPLY | option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                answers.error(
                    answer::INVALID,
                    "the option has data that it can't have, or comes before structured replies",
                );
            }
            _ => answers.error(answer::UNSUPPORTED, "the option is unknown here"),
        }
        output.write_all(&answers.bytes).await?;
        output.flush().await?;
        if chosen.is_some() {
            return Ok(chosen);
        }
    }
    Err(wrong(format!("more than {MAX_OPTIONS} options and no choice")))
}

fn flags_of(structured: bool) -> u16 {
    if structured { FLAGS } else { FLAGS & !DONT_FRAGMENT }
}

/// The answers to one option.
struct Answers {
    option: u32,
    bytes: Vec<u8>,
}

impl Answers {
    fn add(&mut self, kind: u32, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.bytes.extend(OPTION_REPLY_MAGIC.to_be_bytes());
        self.bytes.extend(self.option.to_be_bytes());
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((length as u32).to_be_bytes());
        parts.iter().for_each(|part| self.bytes.extend(*part));
    }

    fn error(&mut self, kind: u32, why: &str) {
        self.add(kind, &[why.as_bytes()]);
    }
}

/// A length and so many bytes, and the rest.
fn counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn asked_disk(data: &[u8]) -> Option<(&[u8], &[u8])> {
    counted(data)
}

/// Whether it is a count of two bytes, and so many numbers of two bytes.
fn is_list_of_numbers(data: &[u8]) -> bool {
    data.split_first_chunk::<2>().is_some_and(|(count, rest)| rest.len() == 2 * usize::from(u16::from_be_bytes(*count)))
}

/// The disk's name and the queries of an option about contexts.
fn asked_contexts(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (name, rest) = counted(data)?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut queries = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (query, after) = counted(rest)?;
        queries.push(query);
        rest = after;
    }
    rest.is_empty().then_some((name, queries))
}
