//! The texts of errors keep to one form. Read from the sources: each string with a space in it that stands in a call of a
//! function in `MAKERS`, outside of tests.
//!
//! `cargo test --test error_texts -- --nocapture` lists what breaks a rule, with file and line.
#![expect(clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

#[path = "rooms/sources.rs"]
#[allow(dead_code, unreachable_pub, clippy::string_slice, reason = "only its tokens are needed")]
mod sources;

use std::collections::BTreeMap;
use std::path::Path;

const MAKERS: &[&[&str]] = &[
    &["Error", "::", "new", "("],
    &["Error", "::", "invalid", "("],
    &["Error", "::", "not_found", "("],
    &["Error", "::", "corrupt", "("],
    &["Error", "::", "from_io", "("],
    &["Problem", "::", "new", "("],
    &["Problem", "::", "invalid", "("],
    &[".", "of_larger", "("],
    &[".", "with_advice", "("],
    &[".", "with_detail", "("],
];

/// Words that a text may begin with although they have a capital.
const PROPER_NAMES: &[&str] = &["Azure", "VHD", "VM", "VMs", "URI", "ID", "BLAKE3", "UTC", "EULA", "OS"];

/// Azure's own sentences, which stay as Azure writes them: how they begin.
const OF_AZURE: &[&str] = &[];

const WORDS: &[&str] = &["whoever", "somebody", "so many", "where nothing is said", "for good"];

/// Rules that today's texts break, and how many of them may. To be lowered, and never raised.
const NOT_YET: &[(&str, usize)] = &[("begins with a capital", 19), ("ends with a period", 24)];

/// The rules that a text breaks.
fn broken(text: &str) -> Vec<String> {
    let first = text.split([' ', '\'']).next().unwrap_or_default();
    let of_azure = OF_AZURE.iter().any(|start| text.starts_with(start));
    let rules = [
        ("ends with a period", text.ends_with('.') && !of_azure),
        (
            "begins with a capital",
            text.starts_with(|c: char| c.is_uppercase()) && !PROPER_NAMES.contains(&first) && !of_azure,
        ),
        ("has a debug format", text.contains(":?}") || text.contains(":#?}")),
        ("has a tab or two spaces", text.contains("\\t") || text.contains('\t') || text.contains("  ")),
    ];
    let padded = format!(" {} ", text.to_lowercase().replace(|c: char| !c.is_alphanumeric(), " "));
    let words = WORDS.iter().filter(|word| padded.contains(&format!(" {word} "))).map(|word| format!("says `{word}`"));
    rules.iter().filter(|(_, breaks)| *breaks).map(|(rule, _)| (*rule).to_owned()).chain(words).collect()
}

#[test]
fn error_texts_keep_to_one_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut texts) = (vec![root.clone()], 0);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "tests.rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                for literal in literals(&sources::without_tests(sources::tokens(&source)).0) {
                    texts += 1;
                    let line = source.split(literal.as_str()).next().unwrap_or_default().lines().count();
                    let text = plain(&literal);
                    for rule in broken(&text) {
                        found.entry(rule).or_default().push(format!("src/{name}:{line}: {text}"));
                    }
                }
            }
        }
    }
    println!("{texts} texts");
    let mut faults = Vec::new();
    for (rule, mut places) in found {
        places.sort();
        let allowed = NOT_YET.iter().find(|(name, _)| *name == rule).map_or(0, |(_, allowed)| *allowed);
        println!("{rule}: {} ({allowed} allowed)\n  {}", places.len(), places.join("\n  "));
        if places.len() > allowed {
            faults.push(format!("{rule}: {}, allowed {allowed}:\n  {}", places.len(), places.join("\n  ")));
        }
    }
    assert!(texts > 100, "only {texts} texts were found: do the makers have other names now?");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn begins(tokens: &[String], with: &[&str]) -> bool {
    tokens.len() > with.len() && tokens.iter().zip(with).all(|(token, with)| token == with)
}

/// The strings within the brackets of each maker.
fn literals(tokens: &[String]) -> Vec<String> {
    let (mut literals, mut end) = (Vec::new(), 0);
    for at in 0..tokens.len() {
        if at < end || !MAKERS.iter().any(|maker| begins(&tokens[at..], maker)) {
            continue;
        }
        let mut depth = 0;
        for (offset, token) in tokens[at..].iter().enumerate() {
            depth += i32::from(token == "(") - i32::from(token == ")");
            if token.starts_with('"') && token.contains(' ') {
                literals.push(token.clone());
            }
            if depth == 0 && token == ")" {
                end = at + offset;
                break;
            }
        }
    }
    literals
}

/// What a literal says: without its quotes, with its lines put together.
fn plain(literal: &str) -> String {
    let mut lines = literal.trim_matches('"').split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}
