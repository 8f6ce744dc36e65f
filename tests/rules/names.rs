//! Names and ids.

use super::*;

#[test]
fn the_next_patch_minor_and_major_numbers_are_computed() {
    let number: VersionNumber = "1.2.3".parse().unwrap();
    let next = [number.next_patch(), number.next_minor(), number.next_major()];
    assert_eq!(next.map(|number| number.unwrap().to_string()), ["1.2.4", "1.3.0", "2.0.0"]);
    let last: VersionNumber = "2147483647.2147483647.2147483647".parse().unwrap();
    assert_eq!([last.next_patch(), last.next_minor(), last.next_major()], [None; 3]);
    one("1.0".parse::<VersionNumber>().unwrap_err(), "InvalidParameter", "Major(int).Minor(int).Patch(int)");
}
