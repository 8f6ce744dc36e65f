//! A network block device: a hypervisor reads an image where it lies, and copies nothing before the boot.
//!
//! [`NbdServer`] serves disks of images, read-only and verified, after the NBD protocol ("newstyle", structured replies, block status).
//! It has no users and no encryption: it listens on a Unix socket, which the file system protects, or on loopback; for anything else a
//! host opens its own streams, with TLS, and hands them to [`NbdServer::serve`].

mod answer;
mod command;
mod connection;
mod errno;
mod listen;
mod negotiation;
mod option;
mod serve;
mod server;
mod wire;

pub use server::NbdServer;
