//! "What can we tell about this request without calling anyone?"
//!
//! A signal is a measured fact, no opinion. Rules judge by them (`signal = "code.lines >= 8"`), and the
//! classifier sees them as features. One extractor per file; each says what it measures and what it misses.

mod characters;
mod code;
mod conversation;
mod format;
mod harness;
mod language;
mod length;
mod logic;
mod math;
mod structure;

pub use conversation::follow_up_cue;
pub(crate) use harness::{Errand, errand, order_in_system};
pub use language::language_of;
pub(crate) use length::estimated_tokens;

use crate::conversation::Conversation;
use crate::reading::Reading;

macro_rules! signals {
    ($($variant:ident $name:literal $what:literal,)*) => {
        /// The measured facts, by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Signal { $(#[doc = $what] $variant,)* }

        impl Signal {
            /// Every signal, in the order the classifier sees them.
            pub const ALL: &'static [Signal] = &[$(Signal::$variant,)*];

            /// The name rules use.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Signal::$variant => $name,)* }
            }

            /// What it measures.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Signal::$variant => $what,)* }
            }
        }
    };
}

signals! {
    LengthTokens "length.tokens" "Estimated tokens of the last user message.",
    LengthAskTokens "length.ask_tokens" "Estimated tokens of the ask alone.",
    LengthLines "length.lines" "Lines of the last user message.",
    StructureQuestions "structure.questions" "Questions in the ask, by question marks and sentence particles.",
    StructureEnumerated "structure.enumerated" "Numbered or bulleted lines in the ask.",
    StructureOptions "structure.options" "Answer options such as A. B. C. D.",
    StructureSections "structure.sections" "Headed sections.",
    StructureConstraints "structure.constraints" "Stated requirements: must, at least, no more than, 至少, 不超过, …",
    CodeFences "code.fences" "Fenced code blocks.",
    CodeLines "code.lines" "Lines of code, fenced or bare.",
    CodeInline "code.inline" "Inline code spans.",
    CodeStackTrace "code.stack_trace" "Lines of a stack trace or compiler message.",
    CodeDiff "code.diff" "Lines of a diff.",
    MathOperators "math.operators" "Arithmetic operators between operands.",
    MathEquations "math.equations" "Equations and inequalities with an unknown.",
    MathSums "math.sums" "Plain sums with nothing but numbers.",
    MathLatex "math.latex" "LaTeX commands and dollar-delimited formulas.",
    MathSymbols "math.symbols" "Mathematical characters such as ² √ ∑ ∫ ≤ ∵ ∴ π.",
    MathNumbers "math.numbers" "Numbers in the ask.",
    LogicConnectives "logic.connectives" "Words of deduction: if, then, all, none, either, unless, 如果, 那么, 所有, 除非, …",
    FormatJson "format.json" "A JSON object or schema is demanded in the request.",
    FormatTools "format.tools" "Tools offered.",
    FormatMaxTokens "format.max_tokens" "The client's cap on generated tokens; 0 when absent.",
    LanguageHan "language.han" "Share of letters that are Chinese characters, 0..=1.",
    LanguageMixed "language.mixed" "Share of letters in the smaller of the two scripts Han and Latin, 0..=0.5.",
    ConversationTurns "conversation.turns" "User messages so far.",
    ConversationFollowUp "conversation.follow_up" "1 when the ask is short and refers back.",
    ConversationThought "conversation.thought" "1 when an earlier answer came with reasoning.",
    ConversationToolResults "conversation.tool_results" "Tool results since the last user message.",
    ConversationToolErrors "conversation.tool_errors" "Tool results since the last user message that report an error.",
    HarnessEnvelope "harness.envelope" "1 when a client program wrapped the words.",
    HarnessHousekeeping "harness.housekeeping" "1 when a client program asks for a title, tags or follow-up suggestions.",
}

/// The value of every signal.
#[derive(Debug, Clone, PartialEq)]
pub struct Signals([f32; Signal::ALL.len()]);

impl Signals {
    /// The value of one signal.
    #[must_use]
    pub fn get(&self, signal: Signal) -> f32 {
        self.0[signal as usize]
    }

    fn set(&mut self, signal: Signal, value: impl IntoSignal) {
        self.0[signal as usize] = value.into_signal();
    }
}

impl Signal {
    /// The signal a rule names.
    #[must_use]
    pub fn named(name: &str) -> Option<Signal> {
        Signal::ALL.iter().copied().find(|signal| signal.name() == name)
    }
}

/// Counts and flags as the number a signal holds.
trait IntoSignal {
    fn into_signal(self) -> f32;
}

impl IntoSignal for f32 {
    fn into_signal(self) -> f32 {
        self
    }
}

impl IntoSignal for usize {
    #[expect(clippy::cast_precision_loss, reason = "no count that matters needs more than 24 bits")]
    fn into_signal(self) -> f32 {
        self as f32
    }
}

impl IntoSignal for bool {
    fn into_signal(self) -> f32 {
        f32::from(u8::from(self))
    }
}

/// Measures the user message at `index`, read as `reading`.
#[must_use]
pub fn extract(conversation: &Conversation<'_>, index: usize, reading: &Reading) -> Signals {
    let mut signals = Signals([0.0; Signal::ALL.len()]);
    length::extract(reading, &mut signals);
    structure::extract(reading, &mut signals);
    code::extract(reading, &mut signals);
    math::extract(reading, &mut signals);
    logic::extract(reading, &mut signals);
    language::extract(reading, &mut signals);
    harness::extract(conversation, reading, &mut signals);
    format::extract(conversation, &mut signals);
    conversation::extract(conversation, index, reading, &mut signals);
    signals
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn signals_of(text: &str) -> Signals {
        let conversation = Conversation::of_prompt(text);
        extract(&conversation, 0, &Reading::of(text))
    }

    #[test]
    fn names_are_unique_and_found() {
        for signal in Signal::ALL {
            assert_eq!(Signal::named(signal.name()), Some(*signal));
        }
    }
}
