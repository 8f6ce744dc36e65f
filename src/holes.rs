//! The data ranges of a sparse file, as its file system reports them and as far as that is consistent.
//!
//! A falsely reported hole makes a part of a disk zeros, and no digest notices: it is computed from what was read. File
//! systems have reported such holes (OpenZFS #11900 and #15526, among others). So the answers are compared with each other and
//! with the space that the file takes; if they disagree, the whole file is data.

use std::io;
use std::ops::Range;

/// A question to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    /// Where is the first data at or after an offset?
    Data,
    /// Where is the first hole at or after an offset? The end of the file is one.
    Hole,
}

/// The answer of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    At(u64),
    /// None up to the end of the file.
    NoMore,
    /// The file system does not report holes.
    CannotTell,
}

/// The reason why the answers were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The answers about this offset contradict each other.
    Contradiction { at: u64 },
    /// More bytes are allocated than reported as data.
    Allocated { allocated: u64, data: u64 },
}

/// The data ranges of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// Ascending; no two touch, none is empty.
    data: Vec<Range<u64>>,
    doubt: Option<Doubt>,
}

/// The maximum number of ranges (16 MiB of memory). Beyond it the shortest holes count as data.
const MAX_RANGES: usize = 1 << 20;

/// One part in `OVERHEAD` of the allocated bytes may be the file system's own, such as its list of the file's extents.
const OVERHEAD: u64 = 64;

/// Any file may have this many more bytes: attributes, an extent tree, a last block that is not full.
const SLACK_BYTES: u64 = 64 << 10;

impl Map {
    /// Makes a map in which all `size` bytes are data.
    pub(crate) fn everything(size: u64) -> Self {
        Self { data: Some(0..size).filter(|all| !all.is_empty()).into_iter().collect(), doubt: None }
    }

    fn doubted(size: u64, doubt: Doubt) -> Self {
        Self { doubt: Some(doubt), ..Self::everything(size) }
    }

    /// Makes the map of a file of `size` bytes that takes `allocated` bytes of space.
    pub(crate) fn of_answers(
        size: u64,
        allocated: u64,
        ask: impl FnMut(Seek, u64) -> io::Result<Answer>,
    ) -> io::Result<Self> {
        Self::within(size, allocated, MAX_RANGES, ask)
    }

    fn within(
        size: u64,
        allocated: u64,
        max_ranges: usize,
        mut ask: impl FnMut(Seek, u64) -> io::Result<Answer>,
    ) -> io::Result<Self> {
        let (mut found, mut at, mut bytes) = (Vec::new(), 0, 0);
        let mut shortest_hole = 1;
        while at < size {
            let start = match ask(Seek::Data, at)? {
                Answer::At(start) if start < at => return Ok(Self::doubted(size, Doubt::Contradiction { at })),
                Answer::At(start) if start < size => start,
                Answer::At(_) | Answer::NoMore => break,
                Answer::CannotTell => return Ok(Self::everything(size)),
            };
            let end = match ask(Seek::Hole, start)? {
                Answer::At(end) if end > start => end.min(size),
                // Empty, backwards, or data without an end.
                _ => return Ok(Self::doubted(size, Doubt::Contradiction { at: start })),
            };
            bytes += end - start;
            add(&mut found, start..end, shortest_hole);
            while found.len() > max_ranges {
                shortest_hole *= 2;
                let ranges = std::mem::take(&mut found);
                ranges.into_iter().for_each(|range| add(&mut found, range, shortest_hole));
            }
            at = end;
        }
        let slack = SLACK_BYTES.min(size / 4);
        if bytes < size && allocated > bytes + bytes / OVERHEAD + slack {
            return Ok(Self::doubted(size, Doubt::Allocated { allocated, data: bytes }));
        }
        Ok(Self { data: found, doubt: None })
    }

    /// Makes the map of a file.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn of_file(file: &std::fs::File, size: u64) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;

        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;

        let allocated = file.metadata()?.blocks().saturating_mul(512);
        Self::of_answers(size, allocated, |what, from| {
            let found = match what {
                Seek::Data => seek(file, SeekFrom::Data(from)),
                Seek::Hole => seek(file, SeekFrom::Hole(from)),
            };
            match found {
                Ok(at) => Ok(Answer::At(at)),
                Err(Errno::NXIO) => Ok(Answer::NoMore),
                Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Answer::CannotTell),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Other systems do not report holes.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn of_file(_: &std::fs::File, size: u64) -> io::Result<Self> {
        Ok(Self::everything(size))
    }

    /// Returns the reason why the answers were rejected, if they were.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }

    /// Returns the first data at or after `from`.
    pub(crate) fn next_data(&self, from: u64) -> Option<Range<u64>> {
        let at = self.data.partition_point(|range| range.end <= from);
        self.data.get(at).map(|range| range.start.max(from)..range.end)
    }
}

/// Appends a range; a hole shorter than `shortest` before it counts as data.
fn add(ranges: &mut Vec<Range<u64>>, range: Range<u64>, shortest: u64) {
    match ranges.last_mut() {
        Some(last) if range.start - last.end < shortest => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
#[cfg(feature = "_properties")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Asks about a file of `size` bytes of which `data` is data, as an honest file system answers.
    fn honest(data: &[Range<u64>], size: u64) -> impl Fn(Seek, u64) -> io::Result<Answer> {
        move |what, from| {
            let at = data.iter().find(|range| range.end > from);
            Ok(match (what, at) {
                _ if from >= size => Answer::NoMore,
                (Seek::Data, None) => Answer::NoMore,
                (Seek::Data, Some(range)) => Answer::At(range.start.max(from)),
                (Seek::Hole, Some(range)) if range.start <= from => Answer::At(range.end),
                (Seek::Hole, _) => Answer::At(from),
            })
        }
    }

    fn map(size: u64, allocated: u64, answers: &[Answer]) -> Map {
        let mut answers = answers.iter();
        Map::of_answers(size, allocated, |_, _| Ok(*answers.next().expect("each question has an answer"))).unwrap()
    }

    #[test]
    fn a_file_of_zeros_that_takes_space_is_read() {
        // The first question about a file of 4 MiB without a hole is answered with ENXIO.
        let lied = map(4 * MIB, 4 * MIB, &[Answer::NoMore]);
        assert_eq!(lied.next_data(0), Some(0..4 * MIB));
        assert_eq!(lied.doubt(), Some(Doubt::Allocated { allocated: 4 * MIB, data: 0 }));
        let honest = map(4 * MIB, 0, &[Answer::NoMore]);
        assert_eq!((honest.next_data(0), honest.doubt()), (None, None));
        // What a file system needs for itself is no lie.
        assert_eq!(map(1 << 40, 12 << 10, &[Answer::NoMore]).doubt(), None);
    }

    #[test]
    fn an_empty_or_backward_answer_makes_everything_data() {
        use Answer::{At, CannotTell, NoMore};
        for (answers, at) in [
            (&[At(MIB), At(MIB)][..], MIB),
            (&[At(MIB), At(0)], MIB),
            (&[At(MIB), NoMore], MIB),
            (&[At(MIB), CannotTell], MIB),
            (&[At(0), At(MIB), At(0)], MIB),
        ] {
            let doubted = map(4 * MIB, MIB, answers);
            assert_eq!((doubted.next_data(0), doubted.doubt()), (Some(0..4 * MIB), Some(Doubt::Contradiction { at })));
        }
        assert_eq!(map(4 * MIB, 4 * MIB, &[CannotTell]), Map::everything(4 * MIB));
        assert_eq!(Map::everything(0).next_data(0), None);
    }

    #[test]
    fn an_error_of_the_disk_is_an_error() {
        let failed = Map::of_answers(MIB, MIB, |_, _| Err(io::Error::other("broken")));
        assert_eq!(failed.unwrap_err().to_string(), "broken");
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_real_file_has_its_data_and_its_holes() {
        use std::os::unix::fs::FileExt;

        let file = tempfile::tempfile().unwrap();
        file.set_len(16 * MIB).unwrap();
        file.write_all_at(&vec![7; MIB as usize], 4 * MIB).unwrap();
        let found = Map::of_file(&file, 16 * MIB).unwrap();
        assert_eq!((found.next_data(4 * MIB), found.doubt()), (Some(4 * MIB..5 * MIB), None));
        // Reserved space without writes is reported as a hole, and read all the same.
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 8 * MIB, 8 * MIB).is_ok() {
            let found = Map::of_file(&file, 16 * MIB).unwrap();
            assert_eq!(found.next_data(0).map(|range| range.end), Some(16 * MIB), "{found:?}");
        }
    }

    fn data(size: u64) -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((1_u64..64, 1_u64..64), 0..20).prop_map(move |pieces| {
            let mut at = 0;
            let ranges = pieces.into_iter().map(|(hole, length)| {
                let start = at + hole * 4096;
                at = start + length * 4096;
                start.min(size)..at.min(size)
            });
            ranges.filter(|range| !range.is_empty()).collect()
        })
    }

    const SIZE: u64 = 8 * MIB;

    fn covers(map: &Map, range: &Range<u64>) -> bool {
        range.is_empty()
            || map.next_data(range.start).is_some_and(|found| found.start == range.start && found.end >= range.end)
    }

    proptest! {
        #[test]
        fn an_honest_file_system_is_believed(data in data(SIZE)) {
            let bytes: u64 = data.iter().map(|range| range.end - range.start).sum();
            let found = Map::of_answers(SIZE, bytes, honest(&data, SIZE)).unwrap();
            prop_assert_eq!(&found.data, &data);
            prop_assert_eq!(found.doubt(), None);
        }

        /// If it hides more than its own overhead can be, no hidden range is a hole.
        #[test]
        fn a_file_system_that_hides_data_is_not_believed(data in data(SIZE), hidden in any::<prop::sample::Index>()) {
            prop_assume!(!data.is_empty());
            let bytes: u64 = data.iter().map(|range| range.end - range.start).sum();
            let (mut told, hidden) = (data.clone(), hidden.index(data.len()));
            let gone = told.remove(hidden);
            let found = Map::of_answers(SIZE, bytes, honest(&told, SIZE)).unwrap();
            let rest = bytes - (gone.end - gone.start);
            if gone.end - gone.start > SLACK_BYTES + rest / OVERHEAD {
                prop_assert!(data.iter().all(|range| covers(&found, range)), "{:?} without {:?}", found, gone);
                prop_assert!(found.doubt().is_some());
            }
        }

        /// Any answers end in an ordered map.
        #[test]
        fn any_answers_make_a_map(
            answers in prop::collection::vec(prop_oneof![
                4 => (0..SIZE * 2).prop_map(Answer::At),
                1 => Just(Answer::NoMore),
                1 => Just(Answer::CannotTell),
            ], 1..50),
            allocated in 0..SIZE * 2,
        ) {
            let mut asked = answers.iter().cycle();
            let found = Map::of_answers(SIZE, allocated, |_, _| Ok(*asked.next().unwrap_or(&Answer::NoMore))).unwrap();
            prop_assert!(found.data.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", found);
            prop_assert!(found.data.iter().all(|range| range.start < range.end && range.end <= SIZE), "{:?}", found);
        }

        #[test]
        fn many_ranges_become_few_and_lose_nothing(data in data(SIZE)) {
            let bytes: u64 = data.iter().map(|range| range.end - range.start).sum();
            let found = Map::within(SIZE, bytes, 4, honest(&data, SIZE)).unwrap();
            prop_assert!(found.data.len() <= 4);
            prop_assert!(data.iter().all(|range| covers(&found, range)), "{:?} of {:?}", found, data);
        }
    }
}
