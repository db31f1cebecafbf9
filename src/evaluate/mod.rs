//! "How good are the decisions?" Measured on public rows with known outcomes, beside what no router would do.

mod labels;
pub mod metrics;
pub mod rows;
mod sources;
