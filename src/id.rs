//! Names for things that clients refer to.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Unique in this process and, by the random part, very likely beyond.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = RandomState::new().build_hasher().finish();
    format!("{random:016x}{:04x}", COUNT.fetch_add(1, Ordering::Relaxed) & 0xffff)
}
