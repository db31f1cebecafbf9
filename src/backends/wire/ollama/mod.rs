//! Ollama's own chat: messages much like chat completions', one JSON value a line, thoughts in a field of their own.

mod reply;
mod request;

pub(super) use self::reply::{Reader, whole};
pub(in crate::backends) use self::request::body;
pub(super) use self::request::takes;
