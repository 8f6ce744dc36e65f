//! The first example of README.md is a program: `examples/golden_image.rs`, word for word. It has a `main`, so the documentation
//! tests run it as it is written.

/// Returns the first block of Rust in README.md.
fn first_block() -> &'static str {
    let (_, from) = include_str!("../README.md").split_once("```rust\n").unwrap_or_default();
    from.split_once("```").unwrap_or_default().0
}

#[test]
fn the_first_example_of_the_readme_is_one_that_runs() {
    let (_, example) = include_str!("../examples/golden_image.rs").split_once("\n\n").unwrap_or_default();
    assert_eq!(first_block(), example, "README.md and examples/golden_image.rs differ: make them the same");
    assert!(
        first_block().contains("\nfn main() -> "),
        "without a `main` the documentation tests compile it and run nothing"
    );
}
