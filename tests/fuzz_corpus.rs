//! Every input in the fuzzers' corpora, through the same functions: a bug that was found once stays found.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use compute_gallery::testkit::fuzz;

/// Replays a corpus; it is never empty.
fn replay(target: &str, run: fn(&[u8])) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count >= 5, "{target} has only {count} inputs");
}

/// Replays a corpus with some bytes changed: `FUZZ_ROUNDS=5000 FUZZ_SEED=7` for a longer run, from another seed.
fn replay_changed(target: &str, run: fn(&[u8])) {
    let asked = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |number| number.parse().unwrap());
    let (rounds, seed) = (asked("FUZZ_ROUNDS", 10), asked("FUZZ_SEED", 1));
    println!("{target}: {rounds} rounds of each input, seed {seed}");
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64).max(1);
    let mut roll = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    for file in std::fs::read_dir(corpus).unwrap() {
        let input = std::fs::read(file.unwrap().path()).unwrap();
        for _ in 0..if input.is_empty() { 0 } else { rounds } {
            let mut changed = input.clone();
            for _ in 0..=roll(6) {
                // Most of what is claimed is claimed early.
                let end = if roll(2) == 0 { changed.len() } else { changed.len().min(600) };
                let at = roll(end);
                let values = [0, 1, 2, 0x7f, 0x80, 0xff, roll(256) as u8];
                let value = values.get(roll(7)).copied().unwrap_or(0);
                changed.iter_mut().skip(at).take(1 + roll(9)).for_each(|byte| *byte = value);
            }
            if roll(8) == 0 {
                changed.truncate(roll(input.len()));
            }
            run(&changed);
        }
    }
}

#[test]
fn disk_files_with_changed_bytes() {
    replay_changed("vhd", fuzz::vhd);
    replay_changed("qcow2", fuzz::qcow2);
    replay_changed("vhdx", fuzz::vhdx);
    replay_changed("vmdk", fuzz::vmdk);
}

#[test]
fn wrapped_files_with_changed_bytes() {
    replay_changed("gzip", fuzz::gzip);
    replay_changed("zstd", fuzz::zstd);
    replay_changed("tar", fuzz::tar);
    #[cfg(feature = "xz")]
    replay_changed("xz", fuzz::xz);
}

#[test]
fn gzip() {
    replay("gzip", fuzz::gzip);
}

#[test]
fn zstd() {
    replay("zstd", fuzz::zstd);
}

#[cfg(feature = "xz")]
#[test]
fn xz() {
    replay("xz", fuzz::xz);
}

#[test]
fn tar() {
    replay("tar", fuzz::tar);
}

#[test]
fn vhd() {
    replay("vhd", fuzz::vhd);
}

#[test]
fn qcow2() {
    replay("qcow2", fuzz::qcow2);
}

#[test]
fn vhdx() {
    replay("vhdx", fuzz::vhdx);
}

#[test]
fn vmdk() {
    replay("vmdk", fuzz::vmdk);
}

#[test]
fn resource_id() {
    replay("resource_id", fuzz::resource_id);
}

#[test]
fn catalog_entry() {
    replay("catalog_entry", fuzz::catalog_entry);
}

#[test]
fn content_index() {
    replay("content_index", fuzz::content_index);
}

#[test]
fn catalog_segment() {
    replay("catalog_segment", fuzz::catalog_segment);
}

#[test]
fn keys_fronts_and_boot_sets() {
    replay("catalog_key", fuzz::catalog_key);
    replay("content_merged", fuzz::content_merged);
    replay("content_boot_set", fuzz::content_boot_set);
    replay_changed("catalog_key", fuzz::catalog_key);
    replay_changed("content_merged", fuzz::content_merged);
    replay_changed("content_boot_set", fuzz::content_boot_set);
}

#[cfg(feature = "arm")]
#[test]
fn arm_request() {
    replay("arm_request", fuzz::arm_request);
}

/// Requests that are nearly good reach further than random ones.
#[cfg(feature = "arm")]
#[test]
fn ten_thousand_mutated_requests_are_answered() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/arm_request");
    let mut files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let mut state = 7_u64;
    let mut draw = |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most.max(1)
    };
    for _ in 0..10_000 {
        let mut request = seeds.get(draw(seeds.len())).unwrap().clone();
        for _ in 0..draw(4) {
            let at = draw(request.len());
            match draw(4) {
                0 => request[at] = b"/?&={}[]\",:0aZ%.- \n"[draw(19)],
                1 => drop(request.remove(at)),
                2 => request.truncate(at.max(1)),
                _ => {
                    let other = &seeds[draw(seeds.len())];
                    let from = draw(other.len());
                    let part = &other[from..(from + draw(30)).min(other.len())];
                    request.splice(at..at, part.iter().copied());
                }
            }
            if request.is_empty() {
                break;
            }
        }
        fuzz::arm_request(&request);
    }
}
