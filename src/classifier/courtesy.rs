//! Greetings, thanks and apologies around a request, which say nothing of what it asks.

use std::sync::LazyLock;

use regex::Regex;

/// What may stand before a request, in normalised text, with the marks and spaces after it.
static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    let english = "(?:hello|hi|hey|howdy|greetings|good (?:morning|afternoon|evening|day)|morning|evening)(?: (?:there|again|everyone|all|folks))?|\
        excuse me|pardon me|(?:i'?m )?(?:so |very )?sorry (?:to (?:bother|trouble|disturb) you|for (?:bothering|the trouble))(?: again)?|\
        (?:many )?thanks(?: (?:a lot|so much|very much))?(?: in advance)?|thank you(?: (?:so|very) much)?(?: in advance)?|\
        (?:could|can|would|will) (?:you|someone|anyone) (?:please )?(?:help me(?: out)?|give me a hand|take a look)(?: (?:with|at) (?:this|something|a question|one thing))?|\
        please help(?: me)?(?: (?:with this|out))?|i (?:have|had|'ve got) a (?:quick )?question|(?:just )?a? ?quick question";
    let chinese = "你好|您好|大家好|老师好|嗨|哈喽|哈罗|早上好|上午好|下午好|晚上好|\
        (?:不好意思|抱歉|对不起)(?:,?(?:打扰|麻烦)(?:一下|您|你)?了?)?|打扰(?:一下|您|你)?了?|\
        (?:先|提前)(?:谢谢|谢过)(?:了|您|你)?|(?:谢谢|多谢|感谢)(?:了|您|你|啦)?|辛苦(?:了|您了|你了)|\
        (?:麻烦|劳驾)(?:您|你)?(?:帮我|帮忙)?(?:看一下|看看|看下)?|(?:请|能)?(?:帮我|帮忙)(?:看一下|看看|看下)";
    let joint = r"(?:\s*[,.!?:;~、。…]+\s*|\s+)";
    let ends = r"\s*[,.!?:;~、。…]+\s*";
    // English words end where letters end; Chinese ones, which may begin a longer word, only before a mark.
    Regex::new(&format!("^(?:(?:(?:{english}){joint})|(?:(?:{chinese}){ends}))+"))
        .expect("a constant pattern, which a test compiles")
});

/// What may stand after it, longest first.
const AFTER: &[&str] = &[
    "thank you very much",
    "thank you so much",
    "thanks in advance",
    "thanks so much",
    "thanks a lot",
    "many thanks",
    "thank you",
    "thanks",
    "cheers",
    "先谢谢了",
    "非常感谢",
    "谢谢您",
    "谢谢你",
    "谢谢啦",
    "谢谢了",
    "辛苦了",
    "谢谢",
    "多谢",
];

/// The request without courtesies, or all of it where it is nothing else.
pub(super) fn without(text: &str) -> &str {
    let begins = BEFORE.find(text).map_or(0, |found| found.end());
    let mut request = &text[begins..];
    let bare =
        request.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '!' | '~' | ',' | '。'));
    if let Some(rest) = AFTER.iter().find_map(|courtesy| bare.strip_suffix(courtesy)) {
        // Thanks stand in a sentence or line of their own; those of "how do I say thanks" do not.
        let before = rest.trim_end_matches(' ');
        if before.ends_with(|c: char| c.is_ascii_punctuation() || matches!(c, '。' | '\n')) {
            request = before.trim_end();
        }
    }
    if request.trim().is_empty() { text } else { request }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courtesies_are_left_out() {
        for (text, request) in [
            ("hello! what is 2+2?", "what is 2+2?"),
            ("hi there, thanks in advance. prove it.", "prove it."),
            ("could you please help me with this? sort the list", "sort the list"),
            ("excuse me, where is it?", "where is it?"),
            ("你好!请问北京人口多少?", "请问北京人口多少?"),
            ("不好意思打扰一下,求x的值", "求x的值"),
            ("麻烦您帮我看一下:证明勾股定理", "证明勾股定理"),
            ("what is 2+2? thanks!", "what is 2+2?"),
            ("求x的值。谢谢!", "求x的值。"),
        ] {
            assert_eq!(without(text), request);
        }
    }

    #[test]
    fn what_is_asked_about_them_stays() {
        for text in [
            "hello!",
            "谢谢",
            "hi-fi systems compared",
            "how do i say thanks",
            "你好用英语怎么说",
            "high tide today?",
        ] {
            assert_eq!(without(text), text);
        }
    }
}
