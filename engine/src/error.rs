//! What can go wrong, in the user's words.

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A key of a JSON file is missing or out of range.
    #[error("{file}: {key}: {reason}")]
    Config {
        /// The file.
        file: &'static str,
        /// The key.
        key: String,
        /// Its value and what would be accepted.
        reason: String,
    },
    /// A tensor is missing, damaged or of the wrong shape.
    #[error("{file}: tensor {tensor}: {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file as a whole is unusable.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl LoadError {
    pub(crate) fn config(key: &str, reason: String) -> Self {
        LoadError::Config { file: "config.json", key: key.to_owned(), reason }
    }
}

/// A conversation that cannot be turned into tokens.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PromptError {
    /// The model's chat template refused it.
    #[error("the chat template failed: {0}")]
    Template(String),
    /// The tokenizer refused it.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}

/// A request the engine does not take.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// It cannot be turned into tokens.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A field has a value outside its range.
    #[error("{field}: {value}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        reason: &'static str,
    },
    /// The prompt leaves no room to answer.
    #[error("the conversation has {tokens} tokens; the model holds {context}")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens the model holds.
        context: usize,
    },
    /// The queue is full.
    #[error("the engine is busy; try again later")]
    Busy,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// A generation that broke off.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the engine failed: {0}")]
pub struct EngineError(pub String);
