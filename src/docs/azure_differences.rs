#![doc = include_str!("../../docs/azure-differences.md")]
