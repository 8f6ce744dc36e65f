#![doc = include_str!("../../docs/hypervisors.md")]
