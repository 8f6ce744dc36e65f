//! README.md shows code that runs: its first example has a `main`, so the documentation tests run it; and it is an example
//! that can be run by itself.

/// The first block of Rust in README.md.
fn block() -> &'static str {
    let (_, from) = include_str!("../README.md").split_once("```rust\n").unwrap_or_default();
    from.split_once("```").unwrap_or_default().0
}

#[test]
fn the_first_example_of_the_readme_is_one_that_runs() {
    let (_, example) = include_str!("../examples/golden_image.rs").split_once("\n\n").unwrap_or_default();
    assert_eq!(block(), example, "README.md and examples/golden_image.rs differ: make them the same");
    assert!(block().contains("\nfn main() -> "), "without a `main` nothing of it is run");
}
