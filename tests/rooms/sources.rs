//! The imports of each file of `src/`, without those of its tests.
#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a helper of a test may fail as the test does")]

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

#[derive(Default)]
pub struct House {
    pub files: Vec<File>,
    /// One module may have a file for each system.
    modules: BTreeMap<Vec<String>, Vec<usize>>,
}

#[derive(Default)]
pub struct File {
    pub name: String,
    pub module: Vec<String>,
    pub lines: usize,
    pub imports: Vec<Import>,
    /// What its `use` lines bring into scope.
    names: BTreeMap<String, Vec<String>>,
}

pub struct Import {
    pub path: Vec<String>,
    /// `pub use`, also with a restriction.
    pub public: bool,
    /// The path is written out; otherwise it begins with a name that another import brought.
    pub whole: bool,
}

impl House {
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut paths, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { &mut folders } else { &mut paths }.push(path);
            }
        }
        paths.sort();
        let (mut house, mut sources, mut tests, mut renamed) = (Self::default(), Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            let parts = name.trim_end_matches(".rs").split('/').filter(|part| !matches!(*part, "mod" | "lib"));
            let module: Vec<String> = parts.map(str::to_owned).collect();
            let text = std::fs::read_to_string(&path).unwrap();
            let (tokens, removed) = without_tests(tokens(&text));
            for it in removed.windows(3).filter(|it| it[0] == "mod" && it[2] == ";") {
                tests.push(child(&module, &it[1]));
            }
            for it in tokens.windows(6).filter(|it| it[0] == "path" && it[4] == "mod") {
                renamed.push((child(&module, &it[5]), child(&module, it[2].trim_matches('"').trim_end_matches(".rs"))));
            }
            let lines = text.lines().count();
            sources.push((File { name, module, lines, ..File::default() }, tokens));
        }
        sources.retain(|(file, _)| !tests.iter().any(|test| file.module.starts_with(test)));
        for (at, (file, _)) in sources.iter().enumerate() {
            house.modules.entry(file.module.clone()).or_default().push(at);
        }
        for (name, file) in renamed {
            let files = house.modules.get(&file).cloned().unwrap_or_default();
            house.modules.entry(name).or_default().extend(files);
        }
        for (mut file, tokens) in sources {
            house.imports(&mut file, &tokens);
            house.files.push(file);
        }
        house
    }

    /// Reads the `use` lines and the inline paths.
    fn imports(&self, file: &mut File, tokens: &[String]) {
        let is_root = |path: &[String]| {
            matches!(path[0].as_str(), "crate" | "super" | "self")
                || self.modules.contains_key(&child(&file.module, &path[0]))
        };
        let (mut at, mut others) = (0, Vec::new());
        while at < tokens.len() {
            let before = if at == 0 { "" } else { &tokens[at - 1] };
            let mut leaves = Vec::new();
            if tokens[at] == "use" {
                let public = matches!(before, "pub" | ")");
                at = tree(tokens, at + 1, &[], &mut leaves);
                for (path, name) in leaves.into_iter().filter(|(path, _)| is_root(path)) {
                    file.names.insert(name, path.clone());
                    file.imports.push(Import { path, public, whole: true });
                }
            } else if tokens.get(at + 1).is_some_and(|next| next == "::") && before != "in" {
                at = tree(tokens, at, &[], &mut leaves);
                for (path, _) in leaves {
                    let whole = is_root(&path);
                    if whole { file.imports.push(Import { path, public: false, whole }) } else { others.push(path) }
                }
            } else {
                let inline = tokens[at] == "mod" && tokens.get(at + 2).is_some_and(|next| next == "{");
                // `docs` is made of documents alone.
                assert!(
                    !inline || file.name == "docs.rs",
                    "src/{}: a module within a file is not read: give it one of its own",
                    file.name
                );
                at += 1;
            }
        }
        for path in others {
            if let Some(brought) = file.names.get(&path[0]) {
                file.imports.push(Import { path: [brought, &path[1..]].concat(), public: false, whole: false });
            }
        }
    }

    /// The files that define what a path names, seen from a module, and the modules whose `use` lines lead there.
    pub fn resolve(&self, from: &[String], path: &[String]) -> (Vec<usize>, Vec<Vec<String>>) {
        let (mut module, mut doors) = (from.to_vec(), Vec::new());
        let mut rest: VecDeque<String> = path.iter().cloned().collect();
        // A path that leads round in a circle through `use` lines ends somewhere, too.
        for _ in 0..100 {
            let Some(name) = rest.pop_front() else { break };
            let next = child(&module, &name);
            match name.as_str() {
                "crate" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                _ if self.modules.contains_key(&next) => module = next,
                _ => {
                    let files = self.modules.get(&module).into_iter().flatten();
                    let Some(path) = files.filter_map(|&at| self.files[at].names.get(&name)).next() else { break };
                    doors.push(module.clone());
                    path.iter().rev().for_each(|name| rest.push_front(name.clone()));
                }
            }
        }
        (self.modules.get(&module).cloned().unwrap_or_default(), doors)
    }
}

fn child(module: &[String], name: &str) -> Vec<String> {
    module.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

/// The paths of a `use` tree or of one inline path, each with the name that it brings. Returns where it ends.
fn tree(tokens: &[String], mut at: usize, prefix: &[String], leaves: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "::" => {}
            "{" if path.len() > prefix.len() || prefix.is_empty() => {
                while tokens[at] != "}" {
                    at = tree(tokens, at, &path, leaves);
                    at += usize::from(tokens[at] == ",");
                }
                return at + 1;
            }
            "as" => {
                leaves.push((path, tokens[at].clone()));
                return at + 1;
            }
            name if name.starts_with(|c: char| c.is_alphabetic() || c == '_') || name == "*" => {
                path.push(name.to_owned());
                if tokens.get(at).is_none_or(|next| next != "::" && next != "as") {
                    break;
                }
            }
            _ => break,
        }
    }
    path.retain(|name| name != "*");
    path.dedup_by(|last, _| last == "self");
    leaves.extend(path.last().cloned().map(|name| (path, name)));
    at
}

/// Parts what is for tests only, `#[cfg(test)]` and its item, from the rest.
pub fn without_tests(tokens: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut removed, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        let rest = &tokens[at..];
        let starts =
            |with: &[&str]| rest.len() > with.len() && rest.iter().zip(with).all(|(token, with)| token == with);
        if !starts(&["#", "[", "cfg", "(", "test"]) && !starts(&["#", "[", "cfg", "(", "all", "(", "test"]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // The attribute ends with its bracket, the item with the `;` or the `}` that stands in no bracket.
        let (mut depth, mut attribute) = (0, true);
        for token in rest {
            at += 1;
            removed.push(token.clone());
            depth += i32::from(matches!(token.as_str(), "(" | "[" | "{"))
                - i32::from(matches!(token.as_str(), ")" | "]" | "}"));
            let item_ends = depth == 0 && matches!(token.as_str(), ";" | "}") || depth < 0;
            attribute = if depth == 0 && token == "]" { false } else { attribute || token == "#" };
            if item_ends && !attribute {
                break;
            }
        }
    }
    (kept, removed)
}

/// Names, `::`, strings and single signs; no comments.
pub fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(first) = rest.chars().next() {
        let hashes = rest
            .trim_start_matches(['b', 'c'])
            .strip_prefix('r')
            .map(|raw| raw.len() - raw.trim_start_matches('#').len());
        let quote = rest.trim_start_matches(['b', 'c', 'r', '#']);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = hashes.filter(|_| quote.starts_with('"')) {
            let start = rest.len() - quote.len() + 1;
            let end = format!("\"{}", "#".repeat(hashes));
            rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if first == '\'' {
            // A character, or a lifetime.
            let inner = rest[1..].chars().next().map_or(0, char::len_utf8);
            if rest[1..].starts_with('\\') {
                rest[3..].find('\'').map_or(rest.len(), |end| end + 4)
            } else if rest[1 + inner..].starts_with('\'') {
                inner + 2
            } else {
                1
            }
        } else if is_name(first) {
            rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        } else {
            if rest.starts_with("::") { 2 } else { first.len_utf8() }
        };
        let token = &rest[..length];
        if !token.starts_with("//") && !token.starts_with("/*") && !first.is_whitespace() {
            tokens.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}
