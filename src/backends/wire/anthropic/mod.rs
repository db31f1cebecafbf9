//! Anthropic's Messages: turns of blocks, thoughts signed, usage without what the cache held.

mod reply;
mod request;

pub(super) use self::reply::{Reader, whole};
pub(in crate::backends) use self::request::body;
pub(super) use self::request::takes;
