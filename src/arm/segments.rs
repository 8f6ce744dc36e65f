//! The segments of a path.

use super::text::percent_decoded;

/// The segments of a path, decoded: as they were written, and in lower case, to be matched.
#[derive(Debug)]
pub(super) struct Segments {
    /// Each after its `/`, which may stand in a segment as well.
    written: String,
    lower: String,
    /// Where each ends, in either text.
    ends: Vec<usize>,
}

impl Segments {
    pub(super) fn of(path: &str) -> Self {
        let (mut written, mut ends) = (String::with_capacity(path.len()), Vec::with_capacity(16));
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            written.push('/');
            written.push_str(&percent_decoded(segment));
            ends.push(written.len());
        }
        Self { lower: written.to_ascii_lowercase(), written, ends }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns a segment as it was written; nothing where there is none.
    pub(super) fn get(&self, at: usize) -> &str {
        self.part(&self.written, at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Returns all of them in lower case.
    pub(super) fn lower(&self) -> Vec<&str> {
        (0..self.len()).map(|at| self.part(&self.lower, at)).collect()
    }

    /// Returns the path from a segment on as it was written, with the `/` before it.
    pub(super) fn from(&self, at: usize) -> &str {
        self.written.get(self.start(at)..).filter(|path| !path.is_empty()).unwrap_or("/")
    }

    fn part<'a>(&self, text: &'a str, at: usize) -> &'a str {
        let end = self.ends.get(at).copied().unwrap_or_default();
        text.get(self.start(at) + 1..end).unwrap_or_default()
    }

    fn start(&self, at: usize) -> usize {
        let before = at.checked_sub(1).map(|before| self.ends.get(before).copied().unwrap_or(self.written.len()));
        before.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_and_keep_their_case() {
        let segments = Segments::of("//Sub%2Fx/%C3%84b//C/");
        assert_eq!(segments.iter().collect::<Vec<_>>(), ["Sub/x", "Äb", "C"]);
        assert_eq!(segments.lower(), ["sub/x", "Äb", "c"]);
        assert_eq!((segments.len(), segments.get(2), segments.get(3), segments.get(9)), (3, "C", "", ""));
        assert_eq!((segments.from(0), segments.from(1), segments.from(3)), ("/Sub/x/Äb/C", "/Äb/C", "/"));
        assert_eq!((Segments::of("").from(0), Segments::of("/").len()), ("/", 0));
    }
}
