//! Trains the classifier that votes beside the rules, and measures it.

pub mod examples;
pub mod fit;
pub mod ridge;
pub mod targets;
pub mod weigh;
