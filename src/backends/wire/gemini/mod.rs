//! Gemini's `generateContent`: contents of parts, thoughts marked and counted apart, signatures on the parts they belong
//! to.

mod reply;
mod request;

pub(super) use self::reply::{Reader, whole};
pub(in crate::backends) use self::request::body;
pub(super) use self::request::takes;
