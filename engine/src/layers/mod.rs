//! The parts of a decoder layer. Shapes are in comments; rows are tokens, packed over all sequences.

pub(crate) mod attention;
pub(crate) mod ffn;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod rope;
