//! The project's documents: how to, and why.
//!
//! They are also files in `docs/` of the repository and of the packed crate. The link definitions in front of a page lead where
//! the files' own definitions, at the end, lead outside of rustdoc: the first definition of a name counts.

// Its code uses the sandbox, so it runs where that is.
#[cfg(any(not(doctest), feature = "testkit"))]
#[doc = include_str!("../docs/cookbook.md")]
pub mod cookbook {}

#[doc = "[format]: mod@format"]
#[doc = include_str!("../docs/commit-protocol.md")]
pub mod commit_protocol {}

#[doc = include_str!("../docs/format.md")]
pub mod format {}

#[doc = include_str!("../docs/rules.md")]
pub mod rules {}

#[doc = include_str!("../docs/benchmarks.md")]
pub mod benchmarks {}

#[doc = include_str!("../docs/decisions/README.md")]
#[doc = include_str!("../docs/decisions/0001-chunks-of-64-kib-without-zero-blocks.md")]
#[doc = include_str!("../docs/decisions/0002-packs-belong-to-an-upload.md")]
#[doc = include_str!("../docs/decisions/0003-answers-wait-for-their-commit.md")]
#[doc = include_str!("../docs/decisions/0004-packs-of-16-mib.md")]
#[doc = include_str!("../docs/decisions/0005-every-change-is-an-operation.md")]
#[doc = include_str!("../docs/decisions/0006-replicas-that-are-there-serve.md")]
#[doc = include_str!("../docs/decisions/0007-access-is-decided-by-id.md")]
#[doc = include_str!("../docs/decisions/0008-one-lock-and-exact-counts.md")]
#[doc = include_str!("../docs/decisions/0009-zstd-for-each-chunk-at-level-minus-1.md")]
#[doc = include_str!("../docs/decisions/0010-the-rarest-pack-first-ties-at-random.md")]
#[doc = include_str!("../docs/decisions/0011-packs-whole-or-in-parts.md")]
#[doc = include_str!("../docs/decisions/0012-a-replica-in-every-zone.md")]
#[doc = include_str!("../docs/decisions/0013-a-deployed-file-is-durable.md")]
#[doc = include_str!("../docs/decisions/0014-zone-redundant-storage-takes-zones.md")]
#[doc = include_str!("../docs/decisions/0015-stores-know-whose-they-are-and-names-die.md")]
#[doc = include_str!("../docs/decisions/0016-one-home-for-limits.md")]
pub mod decisions {}
