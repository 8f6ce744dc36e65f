//! The order of the rooms of `src/`: who may import whom, read from the sources.
//!
//! `cargo test --test rooms -- --nocapture` prints the counts: rooms, files, lines, arrows, circles and what breaks a rule.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

#[path = "rooms/sources.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use sources::House;

/// The floors of the house, from the roof to the ground. A room is a folder or a file of `src/`; a file belongs to the room with
/// the longest name that leads to it (`service/rules` before `service`). It imports from its own room and from the floors
/// below, and from no other room of its floor.
const FLOORS: &[&[&str]] = &[
    &["lib", "docs"],
    &["prelude", "blocking"],
    &["testkit", "serve", "nbd"],
    &["arm"],
    &["service"],
    &["service/drive"],
    &["service/publish", "service/replicate"],
    &["service/deploy", "service/change"],
    &["service/read"],
    &["service/upkeep", "service/rules"],
    &["service/session"],
    &["regions"],
    &["replication"],
    &["catalog"],
    &["image"],
    &["replica"],
    &["keys"],
    &["disk", "access", "billing", "cache", "placement"],
    &["content"],
    &["store"],
    &["model", "holes"],
    &["host", "progress", "persistent_map"],
    &["error"],
];

/// What the sources don't meet yet: a rule, and how often it may still be broken. To be lowered, and never raised.
const NOT_YET: &[(&str, usize)] = &[(CIRCLE, 0), (UPWARD, 0), (THROUGH, 0)];

/// Files that import each other in a loop.
const CIRCLE: &str = "circle of imports";
/// An import from a room that is not below.
const UPWARD: &str = "upward import";
/// A definition in a sibling is imported from the sibling's own file; `mod.rs` and `lib.rs` hand out to others.
const THROUGH: &str = "import through a mod.rs that the file is below";

/// A mutant that does not apply any more proves nothing (`tests/mutants/run.sh` applies them).
#[test]
fn each_mutant_changes_what_the_source_has() -> std::io::Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut stale, mut hunks) = (Vec::new(), 0);
    for patch in std::fs::read_dir(root.join("tests/mutants"))? {
        let patch = patch?.path();
        if patch.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let text = std::fs::read_to_string(&patch)?;
        for of_file in text.split("\ndiff --git ").skip(1) {
            let path = of_file.lines().find_map(|line| line.strip_prefix("+++ b/")).unwrap_or_default();
            let source = std::fs::read_to_string(root.join(path))?;
            for hunk in of_file.split("\n@@ ").skip(1) {
                hunks += 1;
                let before = hunk.lines().skip(1).filter(|line| !line.starts_with(['+', '\\']));
                let before: Vec<&str> = before.map(|line| line.get(1..).unwrap_or_default()).collect();
                if !source.contains(&before.join("\n")) {
                    stale.push(format!("{} in {path}", patch.display()));
                }
            }
        }
    }
    assert!(hunks > 50, "{hunks}");
    assert_eq!(stale, [""; 0]);
    Ok(())
}

#[test]
fn no_import_runs_upward_or_in_a_circle_or_through_the_rooms_own_door() {
    let house = House::read();
    let mut broken = BTreeMap::<&str, BTreeSet<String>>::new();
    let (mut arrows, mut rooms) = (BTreeSet::new(), BTreeMap::<_, [usize; 2]>::new());
    for (at, file) in house.files.iter().enumerate() {
        let (floor, room) = room(&file.name);
        let counts = rooms.entry((floor, room)).or_default();
        *counts = [counts[0] + 1, counts[1] + file.lines];
        for import in &file.imports {
            let (targets, doors) = house.resolve(&file.module, &import.path);
            let own_door = |door: &Vec<String>| file.module.starts_with(door) && file.module != *door;
            for to in targets {
                let target = &house.files[to];
                let hands_out = import.public && target.module.starts_with(&file.module);
                if to == at || hands_out {
                    continue;
                }
                arrows.insert((at, to));
                let what = format!("{}: {} of {}", file.name, import.path.join("::"), target.name);
                let (below, other) = self::room(&target.name);
                if import.whole && other != room && below <= floor {
                    broken.entry(UPWARD).or_default().insert(what.clone());
                }
                if import.whole && doors.iter().any(own_door) {
                    broken.entry(THROUGH).or_default().insert(what);
                }
            }
        }
    }
    for circle in circles(house.files.len(), &arrows) {
        let names: Vec<&str> = circle.iter().map(|&at| house.files[at].name.as_str()).collect();
        broken.entry(CIRCLE).or_default().insert(names.join(", "));
    }

    let room_of = |at: usize| room(&house.files[at].name).1;
    let between: BTreeSet<_> = arrows.iter().map(|&(a, b)| (room_of(a), room_of(b))).filter(|(a, b)| a != b).collect();
    for (&(_, room), [files, lines]) in &rooms {
        let below: Vec<&str> = between.iter().filter(|(from, _)| *from == room).map(|(_, to)| *to).collect();
        println!("{room}: {files} files, {lines} lines, imports from {}", below.join(", "));
    }
    let lines: usize = house.files.iter().map(|file| file.lines).sum();
    let (files, inner) = (house.files.len(), arrows.len());
    println!("{} rooms, {files} files, {lines} lines", rooms.len());
    println!("{} arrows between rooms, {inner} between files", between.len());
    let mut faults = Vec::new();
    for (rule, allowed) in NOT_YET {
        let found = broken.remove(rule).unwrap_or_default();
        println!("{rule}: {} ({allowed} allowed)", found.len());
        found.iter().for_each(|what| println!("  {what}"));
        if found.len() > *allowed {
            faults.push(format!("{rule}: {}, allowed {allowed}: {found:#?}", found.len()));
        }
    }
    let empty: Vec<&&str> =
        FLOORS.iter().copied().flatten().filter(|name| !rooms.keys().any(|(_, room)| room == *name)).collect();
    assert!(empty.is_empty(), "rooms in FLOORS without a file: {empty:?}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The floor, counted from the roof, and the room of a file.
fn room(file: &str) -> (usize, &'static str) {
    let rooms = FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (floor, *room)));
    let leads_to = |room: &str| file.strip_prefix(room).is_some_and(|rest| rest.starts_with('/') || rest == ".rs");
    let found = rooms.filter(|(_, room)| leads_to(room)).max_by_key(|(_, room)| room.len());
    found.unwrap_or_else(|| panic!("src/{file} is in no room: give it one in FLOORS"))
}

/// The sets of files that all reach each other.
fn circles(files: usize, arrows: &BTreeSet<(usize, usize)>) -> BTreeSet<BTreeSet<usize>> {
    let reached = |from: usize| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            next.extend(arrows.range((at, 0)..(at + 1, 0)).map(|&(_, to)| to).filter(|&to| seen.insert(to)));
        }
        seen
    };
    let reach: Vec<BTreeSet<usize>> = (0..files).map(reached).collect();
    let back = |at: usize| reach[at].iter().copied().filter(|&to| reach[to].contains(&at)).collect::<BTreeSet<usize>>();
    (0..files).map(back).filter(|circle| circle.len() > 1).collect()
}
