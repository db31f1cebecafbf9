//! One file per command; each prints what it was asked for and nothing else on standard output.

pub mod check;
pub mod classify;
pub mod explain;
