//! "What did the client say, and what did it ask for outside the text?"
//!
//! A [`Conversation`] borrows the request body. It holds no opinion: weighing the words is the business of
//! [`crate::decide`].

mod content;
mod fields;
mod parse;

use std::borrow::Cow;

use serde::Serialize;

pub use fields::{FieldWishes, wish_in_header, wishes_in_fields};
pub use parse::BadRequest;
pub(crate) use parse::{is_known, unknown_model};

/// Who speaks. `developer` messages count as [`Role::System`], `function` messages as [`Role::Tool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator of the client program.
    System,
    /// The person.
    User,
    /// An earlier answer of a model.
    Assistant,
    /// What a tool returned, and what a client program says in the user's name without a word of the user.
    Tool,
}

/// One message, its text parts joined by newlines.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// The text; images and other parts are counted in [`Conversation::images`] instead.
    pub text: Cow<'a, str>,
    /// The assistant called tools here.
    pub calls_tools: bool,
    /// The assistant's reasoning came back with this message.
    pub thought: bool,
}

/// A request as [`crate::decide::decide`] sees it.
#[derive(Debug, Clone, Default)]
pub struct Conversation<'a> {
    /// All messages, oldest first.
    pub messages: Vec<Message<'a>>,
    /// Wishes stated outside the text: gateway headers, request fields, model alias. Highest rank first.
    pub wishes: Vec<Wish>,
    /// A configured model the client named; absent when the choice is free.
    pub model: Option<Cow<'a, str>>,
    /// A preset the client named (`model: "debug"` or `"auto:debug"`).
    pub preset: Option<Cow<'a, str>>,
    /// Tools offered.
    pub tools: usize,
    /// The client forces a particular tool call.
    pub tool_forced: bool,
    /// A JSON object or schema is demanded as the answer.
    pub json_answer: bool,
    /// Images and other parts that are not text.
    pub images: usize,
    /// The client's cap on generated tokens.
    pub max_tokens: Option<u64>,
    /// The client's cap on reasoning tokens.
    pub budget_cap: Option<u32>,
    /// Models that cannot take a request now. Measured by the caller, so that deciding stays pure.
    pub unavailable: Vec<String>,
    /// Models that this request may not use, whatever else there is.
    pub barred: Vec<String>,
    /// The model whose prefix cache holds the conversation so far. Measured by the caller too.
    pub warm: Option<String>,
}

/// Off or on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Answer at once.
    Off,
    /// Think first.
    On,
}

impl Mode {
    /// The contract's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::On => "on",
        }
    }
}

/// What a wish is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// Think or not; with the budget in tokens if the client named one.
    Thinking(Mode, Option<u32>),
    /// This configured model.
    Model(String),
}

/// Where a wish was stated, highest rank first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `x-thinkgate-thinking`, `x-thinkgate-model`.
    Header,
    /// A native request field such as `enable_thinking` or `reasoning_effort`.
    Field,
    /// `auto:think`, `auto:fast`.
    Alias,
    /// `/think`, 简答, "step by step", …
    Text,
    /// A preset that fixes the mode.
    Preset,
}

/// An explicit request about thinking or model, with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Where it was stated.
    pub origin: Origin,
    /// What it asks.
    pub asks: Asks,
    /// The header, field or rule that stated it.
    pub by: String,
    /// The message it stands in, for wishes in the text.
    pub message: Option<usize>,
    /// `[start, end)` in bytes of that message's text.
    pub span: Option<[usize; 2]>,
    /// Whether it had its way.
    pub honoured: bool,
}

impl Wish {
    /// A wish stated outside the text, not yet weighed.
    #[must_use]
    pub fn outside_text(origin: Origin, by: impl Into<String>, asks: Asks) -> Self {
        Wish { origin, asks, by: by.into(), message: None, span: None, honoured: false }
    }
}

impl Serialize for Wish {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Wish", 7)?;
        out.serialize_field("origin", &self.origin)?;
        match &self.asks {
            Asks::Thinking(mode, budget) => {
                out.serialize_field("asks", mode)?;
                if let Some(budget) = budget {
                    out.serialize_field("budget_tokens", budget)?;
                }
            }
            Asks::Model(name) => out.serialize_field("asks", &format!("model:{name}"))?,
        }
        out.serialize_field("by", &self.by)?;
        if let Some(message) = self.message {
            out.serialize_field("message", &message)?;
        }
        out.serialize_field("span", &self.span)?;
        out.serialize_field("honoured", &self.honoured)?;
        out.end()
    }
}

impl<'a> Conversation<'a> {
    /// One user message and nothing else.
    #[must_use]
    pub fn of_prompt(prompt: &'a str) -> Self {
        let message =
            Message { role: Role::User, text: Cow::Borrowed(prompt), calls_tools: false, thought: false };
        Conversation { messages: vec![message], ..Conversation::default() }
    }

    /// Index of the last message a person wrote.
    #[must_use]
    pub fn last_user(&self) -> Option<usize> {
        self.messages.iter().rposition(|message| message.role == Role::User)
    }
}
