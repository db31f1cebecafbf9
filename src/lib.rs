//! Thinkgate.
