//! The texts of errors keep to one form. Read from the sources: each string with a space in it that stands after one of
//! `MAKERS`, outside of tests.
//!
//! A message and an advice begin in lower case and have no final period: `Display` of a `Problem` makes sentences of them. Azure's
//! sentences stay as Azure writes them.
#![expect(clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

#[path = "rooms/sources.rs"]
#[allow(dead_code, unreachable_pub, clippy::string_slice, reason = "only its tokens are needed")]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where a text begins: with a call, up to its bracket, or with a binding whose name says that it holds a text, up to `;`.
const MAKERS: &[&[&str]] = &[
    &["Error", "::", "new", "("],
    &["Error", "::", "of", "("],
    &["Error", "::", "invalid", "("],
    &["Error", "::", "not_found", "("],
    &["Error", "::", "conflict", "("],
    &["Error", "::", "forbidden", "("],
    &["Error", "::", "limit_reached", "("],
    &["Error", "::", "unavailable", "("],
    &["Error", "::", "busy", "("],
    &["Error", "::", "unknown", "("],
    &["Error", "::", "unsupported", "("],
    &["Error", "::", "corrupt", "("],
    &["Error", "::", "from_io", "("],
    &["Problem", "::", "new", "("],
    &["Problem", "::", "invalid", "("],
    &["Problem", "::", "not_found", "("],
    &["Problem", "::", "conflict", "("],
    &["Problem", "::", "forbidden", "("],
    &["Problem", "::", "limit_reached", "("],
    &["Problem", "::", "unavailable", "("],
    &["Problem", "::", "busy", "("],
    &["Problem", "::", "unknown", "("],
    &["Problem", "::", "unsupported", "("],
    &[".", "of_larger", "("],
    &[".", "with_advice", "("],
    &[".", "with_detail", "("],
    &["already_exists", "("],
    &["conflict", "("],
    &["damaged", "("],
    &["one_source", "("],
    &["other_state", "("],
    &["wrong", "("],
    &["let", "advice", "="],
    &["let", "message", "="],
    &["let", "refused", "="],
    &["let", "sentence", "="],
    &["let", "what", "="],
    &["let", "why", "="],
    &["const", "ADVICE", ":", "&", "str", "="],
    &["const", "ONE_SOURCE", ":", "&", "str", "="],
    &["const", "UNTOLD", ":", "&", "str", "="],
];

/// Words that a text may begin with although they have a capital.
const PROPER_NAMES: &[&str] = &["Azure", "VHD", "VM", "VMs", "URI", "ID", "BLAKE3", "UTC", "EULA", "OS", "LUN", "VMDK"];

/// Azure's own sentences, which stay as Azure writes them: how they begin.
const OF_AZURE: &[&str] = &[
    "A disk encryption set is required for disk",
    "An invalid lun [",
    "Asset name {target} is not valid.",
    "Can not perform requested operation on nested resource.",
    "Cannot create Gallery Image Version from:",
    "Cannot delete resource while nested resources exist.",
    "Changing property '",
    "Complete set of target locations not specified",
    "Could not convert string to DateTimeOffset:",
    "Duplicate luns '",
    "Duplicate regions are not allowed",
    "Duplicated lun numbers have been detected",
    "Duplicated source ids are found",
    "EndOfLifeDate must be set to a future date.",
    "Gallery image version publishing profile regions",
    "Global storage account type does not match",
    "Invalid resource group location '",
    "OSDiskImage and DataDiskImage cannot point to same blob",
    "Operation 'Update Gallery Image Version' is not allowed",
    "Operation could not be completed as it results in exceeding approved",
    "Parameter 'osProfile' is not allowed.",
    "Property id '{}' at path 'id' is invalid.",
    "Required parameter '",
    "Resource group '",
    "Source '{id}' is not found.",
    "The GalleryImageVersion source resource size",
    "The Resource '{path}' under resource group",
    "The client '{caller}' does not have authorization to perform action",
    "The client '{caller}' has permission",
    "The deletion of the gallery image version is not allowed:",
    "The disk encryption set '{set}' must be in the same subscription",
    "The gallery artifact version source can only be specified",
    "The gallery image '{}' only supports creation of VMs",
    "The gallery image {id} is not available in {region} region.",
    "The gallery name '{}' is not unique within the subscription",
    "The image version name is invalid.",
    "The minimum value of '{target}' must not be greater than",
    "The provided location '{region}' is not available for resource type",
    "The provided resource name '{shown}' has these invalid trailing characters:",
    "The resource '{}' already exists in location",
    "The resource with id '{}' has a different",
    "The security type '{supported}' is not supported for the source id",
    "The source id: {id} must",
    "The subscription '",
    "The value '{count}' of parameter '{target}' is out of range.",
    "The value of parameter",
    "There is no latest image version exists for",
    "ZRS storage account type is not supported in this region.",
    "{name} identified by (publisher:",
];

const WORDS: &[&str] = &["whoever", "somebody", "so many", "where nothing is said", "for good"];

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
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut unused = OF_AZURE.to_vec();
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
                    unused.retain(|start| !text.starts_with(start));
                    // What goes over the wire as it is, not by `Problem`, is whole sentences, as Azure's are.
                    let is_wire = name.starts_with("arm/") || name.starts_with("serve/");
                    let of_problems = ["ends with a period", "begins with a capital"];
                    let broken = broken(&text).into_iter();
                    for rule in broken.filter(|rule| !is_wire || !of_problems.contains(&rule.as_str())) {
                        found.entry(rule).or_default().insert(format!("src/{name}:{line}: {text}"));
                    }
                }
            }
        }
    }
    let faults = found.into_iter().map(|(rule, places)| {
        let places: Vec<_> = places.into_iter().collect();
        format!("{rule}:\n  {}", places.join("\n  "))
    });
    let faults: Vec<_> = faults.collect();
    assert!(texts > 300, "only {texts} texts were found: do the makers have other names now?");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(unused.is_empty(), "in `OF_AZURE`, and no text begins so: {unused:#?}");
}

fn begins(tokens: &[String], with: &[&str]) -> bool {
    tokens.len() > with.len() && tokens.iter().zip(with).all(|(token, with)| token == with)
}

/// The strings of each maker, up to its end.
fn literals(tokens: &[String]) -> Vec<String> {
    let (mut literals, mut end) = (Vec::new(), 0);
    for at in 0..tokens.len() {
        let Some(maker) = MAKERS.iter().find(|maker| at >= end && begins(&tokens[at..], maker)) else { continue };
        let last = if maker.ends_with(&["="]) { ";" } else { ")" };
        let mut depth = 0;
        for (offset, token) in tokens[at..].iter().enumerate() {
            depth += match token.as_str() {
                "(" | "[" | "{" => 1,
                ")" | "]" | "}" => -1,
                _ => 0,
            };
            if token.starts_with('"') && token.contains(' ') {
                literals.push(token.clone());
            }
            if depth == 0 && token == last {
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
