//! Turns, references back, and tool results since the last human word. Assistant answers are not read: what a
//! model wrote says little about what the person asks now.

use std::sync::LazyLock;

use regex::Regex;

use super::length::estimated_tokens;
use super::{Signal, Signals};
use crate::conversation::{Conversation, Role};
use crate::reading::Reading;

/// Longer asks stand on their own, whatever word they start with.
const FOLLOW_UP_TOKENS: f32 = 40.0;

static CUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^\s*(?:那|那么|那如果|如果|所以|然后|接着|继续|再|还有|还能|它|这|该|上面|上述|刚才|刚刚|同上|同样|为什么|为何|怎么会|为啥|你确定|确定吗|不对|错了|换|改成|详细|具体|第[一二三四五六七八九十\d]+[步个条点]|请继续|接下来|下一步|举个?例)",
        r"|(?:这个|那个|上述|上面的|前面的|该|此)(?:定理|结论|公式|方法|证明|问题|方程|函数|代码|算法|结果|步骤|程序|题|式子|性质)",
        r"|^\s*(?:and|but|so|then|ok(?:ay)? (?:so|then|now)|now|also|what about|how about|what if|why|how come|are you sure|continue|go on|keep going|do it|do that|next|same for|again|can you (?:elaborate|expand|explain that|also)|could you also|explain (?:that|it|this|why|the (?:\w+ )?(?:step|part|line|case|idea|argument))|elaborate|go ahead|proceed|(?:try|use|give|show)(?: me)? (?:another|a different)|(?:ok(?:ay)?|yes|sure|please),? (?:please )?(?:do (?:it|that|so)|go (?:ahead|on)|continue|proceed)|instead|does (?:it|this|that)|is (?:it|this|that)|would (?:it|this|that)|in that case|the (?:second|third|last|first) (?:one|step|part|case))(?-u:\b)",
        r"|(?-u:\b)(?:this|that|the same|the above) (?:theorem|result|formula|method|proof|problem|equation|function|code|algorithm|approach|step|program|property|answer)(?-u:\b)",
    ))
    .expect("constant")
});

/// Starts like a reference back, but asks about the assistant itself, or only for the last answer in another form.
static APART: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^\s*(?:那|那么|所以|然后|还有|对了)?,?你(?:最?喜欢|是谁|是男|是女|叫|几岁|多大|有(?:没有)?(?:名字|感情|女朋友|男朋友|朋友)|吃|住)",
        r"|^\s*(?:so|and|but|then|now|ok|okay),? ?(?:(?:what|which|who)(?:'s| is| are)? your (?:name|age|favou?rite|hobby|hobbies|job)|who are you|how old are you|do you (?:like|love|have a))(?-u:\b)",
        r"|^\s*(?:请|再|把(?:它|上面的?|这个|这段|答案))*(?:改成|换成|改为)(?:中|英|日|法|德|韩|俄|汉)(?:文|语)",
        r"|^\s*(?:请)?换(?:个|一?种)(?:说法|语气|标题|措辞|表达|风格)",
        r"|^\s*(?:请)?再(?:说|发|重复|念)一?(?:遍|次|下)",
    ))
    .expect("constant")
});

static TOOL_ERROR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:error|exception|traceback|failed|failure|denied|not found|timed out|exit code [1-9])\b|失败|错误|异常|超时")
        .expect("constant")
});

/// Whether a short ask refers back to what was said before.
#[must_use]
pub fn follow_up_cue(reading: &Reading) -> bool {
    estimated_tokens(reading.whole()) <= FOLLOW_UP_TOKENS
        && CUE.is_match(reading.ask())
        && !APART.is_match(reading.ask())
}

pub(super) fn extract(
    conversation: &Conversation<'_>,
    index: usize,
    reading: &Reading,
    signals: &mut Signals,
) {
    let before = &conversation.messages[..index];
    let after = &conversation.messages[index + 1..];
    let turns = before.iter().filter(|message| message.role == Role::User).count() + 1;
    signals.set(Signal::ConversationTurns, turns);
    signals.set(Signal::ConversationFollowUp, turns > 1 && follow_up_cue(reading));
    signals.set(Signal::ConversationThought, before.iter().any(|message| message.thought));
    let results = || after.iter().filter(|message| message.role == Role::Tool);
    signals.set(Signal::ConversationToolResults, results().count());
    let reports_error = |text: &str| {
        // The first lines say whether a call failed; the rest may quote anything.
        TOOL_ERROR.is_match(&text[..text.floor_char_boundary(300)])
    };
    signals.set(
        Signal::ConversationToolErrors,
        results().filter(|message| reports_error(&message.text)).count(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_in_both_languages() {
        for text in [
            "那这个定理适用三维空间吗？",
            "继续",
            "为什么？",
            "What about three dimensions?",
            "do it",
            "Are you sure?",
            "ok, go ahead",
            "Try another method",
        ] {
            assert!(follow_up_cue(&Reading::of(text)), "{text:?}");
        }
        for text in [
            "谢谢！",
            "Thanks!",
            "北京人口多少？",
            "What is the capital of France?",
            "Whyte is a name",
            "那你喜欢什么颜色？",
            "改成英文",
            "So what's your name?",
        ] {
            assert!(!follow_up_cue(&Reading::of(text)), "{text:?}");
        }
    }
}
