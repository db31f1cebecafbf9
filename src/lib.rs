//! Thinkgate decides, for every prompt, whether a language model should think before it answers, for how
//! long, and which model should answer; then it gets the answer.
//!
//! # Layout
//!
//! - [`conversation`]: what the client sent, as text and roles, with the wishes it stated in fields.
//! - [`decide`]: the product, one pure function from a conversation to a [`Decision`](decide::Decision).
//! - [`rules`]: the hand-tunable judgements that [`decide`] weighs.
//! - [`classifier`]: the trained vote beside them.
//! - [`calibration`]: what thinking buys and costs on each model, fitted from measured outcomes.
//! - [`policy`]: the models, presets and prices that [`decide`] chooses between.
//! - [`server`], [`api`]: who may connect, and what is answered.
//! - [`dispatch`], [`backends`]: who answers, and how each backend is spoken to.
//! - [`config`], [`app`], [`loaded`], [`catalogue`], [`embedded`]: what the operator asked for, and what is loaded.
//! - [`reload`]: what changed on disk since.
//! - [`record`], [`metrics`]: what is kept of a request; [`warmth`]: which model has read which conversation.
//! - [`evaluate`]: how good the decisions are, on public rows with known outcomes.
//! - [`cli`], [`commands`]: the binary's commands.
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod backends;
pub mod calibration;
pub mod catalogue;
pub mod classifier;
pub mod cli;
pub mod commands;
pub mod config;
pub mod conversation;
pub mod decide;
pub mod dispatch;
pub mod embedded;
pub mod evaluate;
mod id;
pub mod loaded;
pub mod metrics;
pub mod policy;
pub mod reading;
pub mod record;
pub mod reload;
pub mod rules;
pub mod server;
pub mod signals;
pub mod warmth;
