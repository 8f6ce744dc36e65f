#![doc = include_str!("../../docs/azure-clients.md")]
