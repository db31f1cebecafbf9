//! What the shipped rules decide, through the public surface.
//!
//! - `seed`: the examples of the article that the project started from, and their English counterparts.
//! - `wishes`: precedence, quotation, negation and role.
//! - `harness`: what client programs put around the words, and their own calls.
//! - `context`: follow-ups, new topics, tool loops.
//! - `profile`: what a measured profile of the model turns around, and what it leaves.
//! - `properties`: what must hold for any text.
//! - `robustness`: disguises, padding, smuggled directives.
//! - `corpus`: shares on labelled public prompts, where the data lie beside the repository.

mod context;
mod corpus;
mod harness;
mod profile;
mod properties;
mod robustness;
mod seed;
mod support;
/// The trained vote beside the rules.
mod trained;
/// A conversation and the model that has read it.
mod warm;
mod wishes;
