//! Life of a token.
