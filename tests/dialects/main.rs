//! What every dialect writes, for every class of its models and every intent, held against files that a reader can check.

mod support;

/// The bodies, in `tests/dialects/*.json`.
mod golden;
/// What is derived from the records: the table in the documentation.
mod page;
/// Fields that the gateway does not know.
mod passing;
/// What depends on more than model and intent.
mod plans;
/// What a strict server says.
mod strict;
