//! The table of rules itself.

use std::collections::BTreeSet;

/// Every row of `docs/rules.md` names an existing test, and every one of Azure's own error rows is in it.
#[test]
fn the_table_of_rules_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut ahead = vec![root.join("src"), root.join("tests")];
    while let Some(path) = ahead.pop() {
        for entry in std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => ahead.push(entry),
                false if entry.extension().is_some_and(|extension| extension == "rs") => {
                    sources.push_str(&std::fs::read_to_string(entry).unwrap());
                }
                false => {}
            }
        }
    }
    let table = std::fs::read_to_string(root.join("docs/rules.md")).unwrap();
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, rule, source, code, test, _] = cells[..] else { panic!("{row}") };
        assert!(!rule.is_empty() && !source.is_empty() && !code.is_empty(), "{row}");
        rows += 1;
        let reasons = ["not modelled:", "not applicable:"];
        if let Some(why) = reasons.iter().find_map(|reason| test.strip_prefix(reason)) {
            assert!(why.len() > 10 && code == "-", "{row}");
            continue;
        }
        for name in test.split(", ") {
            let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            let name = name.unwrap_or_else(|| panic!("a test stands in backticks: {row}"));
            // A function that is run as a test, or an example that must not compile.
            let function = format!("fn {name}(");
            let is_test = |before: &str| before.lines().rev().take(3).any(|line| line.trim() == "#[test]");
            let before_each = sources.split(&function).collect::<Vec<_>>();
            let (_, before_each) = before_each.split_last().unwrap();
            let exists = before_each.iter().any(|before| is_test(before));
            let exists = exists || sources.contains(&format!("compile_fail,{name}\n"));
            assert!(exists, "`{name}` is no test: {row}");
        }
    }
    assert!(rows >= 130, "{rows}");
    let known: BTreeSet<&str> = table.split(|char: char| !char.is_ascii_alphanumeric()).collect();
    for number in (1..=37).map(|number| format!("E{number}")).chain((1..=8).map(|number| format!("V{number}"))) {
        assert!(known.contains(number.as_str()), "{number} is missing");
    }
}

/// The rows of the rule book without a test, as the page of differences tells them.
#[expect(clippy::panic, reason = "a helper of a test may fail as the test does")]
fn rules_that_are_not_kept() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/rules.md")).unwrap();
    let mut rows = String::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, rule, source, _, test, _] = cells[..] else { panic!("{row}") };
        if !test.starts_with('`') {
            rows.push_str(&format!("| {rule} | {source} | {test} |\n"));
        }
    }
    rows
}

/// The page of differences, before its generated rows and with them.
fn page_of_differences() -> (std::path::PathBuf, String, String) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/azure-differences.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let head = "| rule | source | why |\n|---|---|---|\n";
    let (before, _) = written.split_once(head).unwrap();
    let page = format!("{before}{head}{}", rules_that_are_not_kept());
    (path, written, page)
}

#[test]
fn the_page_of_differences_has_every_rule_that_is_not_kept() {
    let (_, written, page) = page_of_differences();
    assert!(written == page, "docs/azure-differences.md is old: run the ignored test `write_the_page_of_differences`");
}

#[test]
#[ignore = "writes docs/azure-differences.md"]
fn write_the_page_of_differences() {
    let (path, _, page) = page_of_differences();
    std::fs::write(path, page).unwrap();
}
