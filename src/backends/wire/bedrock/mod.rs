//! Amazon Bedrock's Converse: one shape for every vendor's models, streamed in binary frames.
//!
//! Authorised by a Bedrock API key as bearer token; requests are not signed with an access key and secret.

mod reply;
mod request;

pub(super) use self::reply::{Reader, whole};
pub(in crate::backends) use self::request::body;
pub(super) use self::request::takes;
