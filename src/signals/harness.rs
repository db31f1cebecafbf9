//! Envelopes that client programs put around a person's words, and their own housekeeping calls.

use std::sync::LazyLock;

use regex::Regex;

use super::{Signal, Signals};
use crate::reading::Reading;

static ENVELOPE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"<(?:system-reminder|environment_details|user_query|task|user_message|command-name|ide_opened_file|context|instructions)>|\[task for '|# task\n|### task:")
        .expect("constant")
});
static HOUSEKEEPING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?:generate|create|write|provide|suggest)[^\n]{0,60}(?:title|tags?|emoji|follow-up questions?|search quer(?:y|ies)|autocomplet\w+)[^\n]{0,80}(?:chat|conversation|history|session|thread|user|assistant)",
        r"|(?:chat|conversation) (?:title|summary) ?(?:generator|in \d)",
        r"|(?:为|给|根据)[^\n]{0,20}(?:对话|会话|聊天)[^\n]{0,30}(?:标题|标签|摘要|追问|后续问题)",
        r"|生成[^\n]{0,20}(?:标题|标签|追问|后续问题)[^\n]{0,20}(?:对话|会话|聊天)",
        r"|summari[sz]e (?:this|the) (?:coding )?conversation (?:in|so far|under)|is_?new_?topic",
    ))
    .expect("constant")
});

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    signals.set(Signal::HarnessEnvelope, ENVELOPE.is_match(reading.whole()));
    signals.set(Signal::HarnessHousekeeping, HOUSEKEEPING.is_match(reading.whole()));
}

#[cfg(test)]
mod tests {
    use super::super::tests::signals_of;
    use super::*;

    #[test]
    fn housekeeping_is_told_from_writing() {
        for text in [
            "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.",
            "Generate 1-3 broad tags categorizing the main themes of the chat history",
            "请根据以下对话生成一个简短的标题",
        ] {
            assert_eq!(signals_of(text).get(Signal::HarnessHousekeeping), 1.0, "{text:?}");
        }
        for text in ["Write a title for my novel.", "给我的小说起个标题"] {
            assert_eq!(signals_of(text).get(Signal::HarnessHousekeeping), 0.0, "{text:?}");
        }
    }
}
