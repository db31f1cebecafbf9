//! The classifier inside this program.

use super::{ArtefactError, Classifier, read};

impl Classifier {
    /// The classifier inside this program, checked like any other.
    ///
    /// # Errors
    /// Never in a released binary: the tests load it.
    pub fn builtin() -> Result<Classifier, ArtefactError> {
        read(include_bytes!("../../classifier/model.bin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_loads_and_answers_as_when_it_was_made() {
        // Reading checks every canary, and refuses a classifier that has none.
        let classifier = Classifier::builtin().expect("loads");
        assert_eq!(classifier.version.len(), 16);
    }
}
