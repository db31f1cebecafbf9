//! Trains and evaluates the classifier.
