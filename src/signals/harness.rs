//! Envelopes that client programs put around a person's words, and their own housekeeping calls: titles, tags,
//! follow-up questions, search words, probes. Told by the wording that the programs ship, so a program that words
//! its calls in its own way is missed.

use std::sync::LazyLock;

use regex::Regex;

use super::{Signal, Signals};
use crate::conversation::{Conversation, Role};
use crate::reading::Reading;

/// In the user's message, where the client gives the order itself.
static ORDER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?:generate|create|write|provide|suggest)[^\n]{0,60}(?:title|tags?|emoji|follow-?up (?:questions?|prompts?)|search quer(?:y|ies)|autocomplet\w+)[^\n]{0,80}(?:chat|conversation|history|session|thread|user|assistant)",
        r"|(?:chat|conversation) (?:title|summary) ?(?:generator|in \d)",
        r"|(?:为|给|根据)[^\n]{0,20}(?:对话|会话|聊天)[^\n]{0,30}(?:标题|标签|摘要|追问|后续问题)",
        r"|生成[^\n]{0,20}(?:标题|标签|追问|后续问题)[^\n]{0,20}(?:对话|会话|聊天)",
        r"|summari[sz]e (?:this|the) (?:coding )?conversation (?:in|under) ",
    ))
    .expect("constant")
});

/// In either place: the openings of calls that no person would write.
static PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"indicates a new conversation topic|is_?new_?topic",
        r"|you are an autocompletion system|facial expression through a fitting emoji",
        r"|choose and return the correct tool\(s\) from the list",
        r"|determine the necessity of generating search queries",
        r"|you are a text classification engine|decompose the user.s input into",
        r"|predict(?:ing)? the (?:user.s next question|three most likely questions)",
        r"|extract any file paths that this command|summari[sz]e this coding conversation",
        r"|预测用户(?:的|接下来)?(?:可能)?(?:会)?(?:下一个|提出|问)|执行一个.{0,3}问题分类.{0,3}任务|执行一个 +任务,将问题分类",
    ))
    .expect("constant")
});

/// The transcript is to be cut down to what the rest of the conversation needs.
static COMPACTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"summari[sz]e (?:this|the) (?:coding )?conversation so far",
        r"|create an? (?:detailed|concise|comprehensive) summary of (?:the|this|our) conversation so far",
        r"|tasked with summari[sz]ing conversations",
    ))
    .expect("constant")
});

/// In either place: naming a chat, unless a program for it is being written.
static TITLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?:title|标题)(?: generator|生成(?:器|助手))",
        r"|(?:summari[sz]e|generate|create|write)[^\n]{0,100}\btitle\b[^\n]{0,100}\b(?:conversation|session|chat|dialogue)\b",
        r"|(?:summari[sz]e|generate|create|write)[^\n]{0,60}\b(?:conversation|session|chat|dialogue)\b[^\n]{0,60}\btitle\b",
        r"|将[^\n]{0,8}(?:对话|会话|聊天)[^\n]{0,8}总结[^\n]{0,16}标题",
    ))
    .expect("constant")
});

/// A person at work on such a program.
static BUILDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u:\b)(?:functions?|implement|components?|endpoint|python|javascript|typescript|regex|unit tests?|interviews?|how (?:do|can|does|to)|why (?:do|does|is)|what does)(?-u:\b)",
        r"|函数|实现|组件|代码|接口|如何|怎么|为什么|面试",
    ))
    .expect("constant")
});

/// Orders stand at the start or, behind the material, at the end.
const ENDS: usize = 1500;
/// A longer system prompt is an assistant's whole brief, not a single order.
const LONGEST_ORDER: usize = 4000;

pub(super) fn extract(conversation: &Conversation<'_>, reading: &Reading, signals: &mut Signals) {
    signals.set(Signal::HarnessEnvelope, reading.is_wrapped());
    signals.set(Signal::HarnessHousekeeping, errand(conversation, reading).is_some());
}

/// What a client program wants of the model for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A title, tags, a label, a probe: any model will do.
    Chore,
    /// A summary that the conversation will go on from: no thinking, but a model that can read.
    Compaction,
}

/// What the client program asks here, if it is not the person who asks.
pub(crate) fn errand(conversation: &Conversation<'_>, reading: &Reading) -> Option<Errand> {
    if is_probe(conversation, reading) {
        return Some(Errand::Chore);
    }
    ordered(reading.ask())
}

/// One token for a word that asks nothing: the client tests its key, or counts.
fn is_probe(conversation: &Conversation<'_>, reading: &Reading) -> bool {
    let word = reading.whole().trim();
    word == "warmup"
        || (conversation.max_tokens == Some(1)
            && ["quota", "count", "ping", "test", "foo", "hi", "hello", "."].contains(&word))
}

fn ordered(ask: &str) -> Option<Errand> {
    let head = &ask[..ask.floor_char_boundary(ENDS)];
    let tail = &ask[ask.floor_char_boundary(ask.len().saturating_sub(ENDS)).max(head.len())..];
    let any = |pattern: &Regex| pattern.is_match(head) || pattern.is_match(tail);
    if any(&COMPACTION) && !any(&BUILDS) {
        return Some(Errand::Compaction);
    }
    let names = || ["title", "标题"].iter().any(|name| ask.contains(name)) && any(&TITLE);
    // Apart from the pattern, all of whose other parts start with a word that can be searched for.
    let suggests = || [head, tail].iter().any(|end| end.trim_start().starts_with("[suggestion mode"));
    let chore = any(&PROGRAM) || ((any(&ORDER) || suggests() || names()) && !any(&BUILDS));
    chore.then_some(Errand::Chore)
}

/// The system message that is the client's order, so that the user's is only what it is about.
pub(crate) fn order_in_system(conversation: &Conversation<'_>) -> Option<usize> {
    let messages = &conversation.messages;
    let system = || (0..messages.len()).filter(|index| messages[*index].role == Role::System);
    let length: usize = system().map(|index| messages[index].text.len()).sum();
    let orders = |text: &str| {
        let text = text.to_lowercase();
        PROGRAM.is_match(&text) || (TITLE.is_match(&text) && !BUILDS.is_match(&text))
    };
    system().find(|index| length <= LONGEST_ORDER && orders(&messages[*index].text))
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
            "Warmup",
        ] {
            assert_eq!(signals_of(text).get(Signal::HarnessHousekeeping), 1.0, "{text:?}");
        }
        for text in [
            "Write a title for my novel.",
            "给我的小说起个标题",
            "Write a Python function that creates a title from a chat history.",
            "Why does the client send “Generate a title for this conversation”?",
            "如何为对话生成标题？",
        ] {
            assert_eq!(signals_of(text).get(Signal::HarnessHousekeeping), 0.0, "{text:?}");
        }
    }
}
