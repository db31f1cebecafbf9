//! The `thinkgate` binary.
fn main() {}
