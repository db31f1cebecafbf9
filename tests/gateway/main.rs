//! The gateway as its clients, operators and upstreams see it: real sockets, port 0.

#[path = "../dialects/strict.rs"]
mod strict;
mod support;

/// Who may call.
mod auth;
/// Profiles of models, from rows to decisions.
mod calibrate;
/// A client that goes away stops the work behind its request.
mod cancel;
/// The command line: what is printed, and with which exit code a command ends.
mod cli;
/// Requests as shipped client programs send them.
mod clients;
/// A plain text, continued.
mod completions;
/// What an operator wrote and got wrong.
mod config;
/// What a prompt takes, asked beforehand.
mod counting;
/// How upstreams are told to think, and how the client learns what became of it.
mod dialects;
/// The embedded models, end to end.
mod embedded;
/// What goes wrong, and how the client learns of it.
mod errors;
/// The tables of decision quality.
mod evaluate;
/// Models of the Hugging Face hub.
mod hub;
/// Starting, draining and stopping.
mod lifecycle;
/// What a peer can hold, and for how long.
mod limits;
/// Anthropic's API, end to end.
mod messages;
/// What a client may name, in either form.
mod models;
/// Models, decisions, health and metrics.
mod observe;
/// What a key may ask for, and what the gateway's headers ask.
mod policy;
/// What upstreams make of the switch, as the command line finds out.
mod probe;
/// What changes on disk takes over while requests are answered.
mod reload;
/// OpenAI's responses, end to end.
mod responses;
/// Which model answers, and in which mode.
mod routing;
/// Streams: order, reasoning, endings.
mod streaming;
/// A conversation and the model that has read it.
mod warmth;
/// Upstreams that speak something else than chat completions, and what becomes of reasoning on the way.
mod wires;
