//! Copies inside the Linux kernel.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Lets `to` share the blocks of `from`, as btrfs, XFS and some others can. False on any failure: the bytes can still be
/// copied, and an error of that copy says what is wrong.
pub(super) fn share_blocks(from: &File, to: &File) -> bool {
    #[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
    let shared = rustix::fs::ioctl_ficlone(to, from).is_ok();
    #[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
    let shared = false;
    shared
}

/// Copies a range inside the kernel as far as it can, and returns where it stopped; the rest is for the caller.
///
/// Not by `copy_file_range`, which shares the blocks if the file system can: `sendfile` writes the bytes.
pub(super) fn copy_range(from: &File, to: &File, range: Range<u64>) -> io::Result<u64> {
    rustix::fs::seek(to, SeekFrom::Start(range.start))?;
    in_pieces(range, |at, length| {
        let mut read_at = at;
        rustix::fs::sendfile(to, from, Some(&mut read_at), length)
    })
}

/// Repeats `copy` from where it stopped: the kernel may copy less than it is asked to.
fn in_pieces(range: Range<u64>, mut copy: impl FnMut(u64, usize) -> rustix::io::Result<usize>) -> io::Result<u64> {
    let mut at = range.start;
    while at < range.end {
        match copy(at, usize::try_from(range.end - at).unwrap_or(usize::MAX)) {
            Ok(0) => break,
            Ok(copied) => at += copied as u64,
            Err(Errno::INTR) => {}
            // Some kernels and file systems can't, or say 0 where a read finds bytes.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::BADF) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    /// Answers one after the other, and what was asked for each of them.
    fn asked(answers: &[rustix::io::Result<usize>]) -> (Vec<(u64, usize)>, io::Result<u64>) {
        let (mut asked, mut answers) = (Vec::new(), answers.iter());
        let stopped = in_pieces(10..100, |at, length| {
            asked.push((at, length));
            *answers.next().unwrap()
        });
        (asked, stopped)
    }

    #[test]
    fn a_short_copy_goes_on_where_it_stopped() {
        let (calls, stopped) = asked(&[Ok(1), Ok(50), Err(Errno::INTR), Ok(39)]);
        assert_eq!(calls, [(10, 90), (11, 89), (61, 39), (61, 39)]);
        assert_eq!(stopped.unwrap(), 100);
    }

    #[test]
    fn what_the_kernel_cannot_copy_is_left_to_the_caller() {
        for cannot in [Ok(0), Err(Errno::XDEV), Err(Errno::INVAL), Err(Errno::OPNOTSUPP), Err(Errno::NOSYS)] {
            assert_eq!(asked(&[cannot]).1.unwrap(), 10);
            assert_eq!(asked(&[Ok(7), cannot]).1.unwrap(), 17);
        }
    }

    #[test]
    fn an_error_of_the_disk_is_an_error() {
        for broken in [Errno::IO, Errno::NOSPC] {
            let (calls, stopped) = asked(&[Ok(7), Err(broken)]);
            assert_eq!((calls.len(), stopped.unwrap_err().raw_os_error()), (2, Some(broken.raw_os_error())));
        }
    }

    #[test]
    fn shared_blocks_are_the_same_bytes() {
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all(&vec![7; 100_001]).unwrap();
        if !share_blocks(&from, &to) {
            eprintln!("skipped: this file system can't share blocks");
            return;
        }
        let mut bytes = Vec::new();
        to.read_to_end(&mut bytes).unwrap();
        assert!(bytes == vec![7; 100_001]);
        from.rewind().unwrap();
        from.write_all(b"changed").unwrap();
        to.rewind().unwrap();
        let mut first = [0];
        to.read_exact(&mut first).unwrap();
        assert_eq!(first, [7]);
    }
}
