//! The program kmirror.
fn main() {}
