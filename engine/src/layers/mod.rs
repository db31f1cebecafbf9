//! What are the parts of a decoder block?
//!
//! One file per part of the paper's figure. All of them work on packed rows, `(tokens, width)`, in which the
//! tokens of several sequences follow each other; only [`attention`] cares where one sequence ends.

pub(crate) mod attention;
pub(crate) mod ffn;
pub(crate) mod norm;
pub(crate) mod rope;
