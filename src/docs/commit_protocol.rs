// The file's own definition of this link, at its end, is for readers outside of rustdoc: the first one counts.
#![doc = "[format]: super::format"]
#![doc = include_str!("../../docs/commit-protocol.md")]
