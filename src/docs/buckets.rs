#![doc = include_str!("../../docs/buckets.md")]
