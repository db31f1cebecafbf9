use super::*;

fn split_every(content: &str, size: usize, expects: Expects, end: End) -> (String, String) {
    let mut splitter = Splitter::new(expects);
    let chars: Vec<char> = content.chars().collect();
    let mut parts = Vec::new();
    for piece in chars.chunks(size) {
        parts.extend(splitter.push(&piece.iter().collect::<String>()));
    }
    parts.extend(splitter.finish(end));
    joined(parts)
}

#[test]
fn any_cut_gives_the_same_parts() {
    use Expects::{Closer, Opener, PerhapsCloser};
    for (content, expects, end, reasoning, answer) in [
        ("<think>\n想一想 a < b\n</think>\n\n42", PerhapsCloser, End::Complete, "想一想 a < b", "42"),
        ("想一想\n</think>\n\n42", PerhapsCloser, End::Complete, "想一想", "42"),
        ("<think>\n\n</think>\n\n42", Opener, End::Complete, "", "42"),
        ("<think> \n </think>42", Opener, End::Complete, "", "42"),
        ("just an answer", PerhapsCloser, End::Complete, "", "just an answer"),
        ("tags look like </think>", Opener, End::Complete, "", "tags look like </think>"),
        ("use <think> tags", Opener, End::Complete, "", "use <think> tags"),
        ("use `<think>`, then `</think>`", Opener, End::Complete, "", "use `<think>`, then `</think>`"),
        ("```\n<think>\n</think>\n```\n", Opener, End::Complete, "", "```\n<think>\n</think>\n```\n"),
        ("<think>cut off </thi", PerhapsCloser, End::Cut, "cut off </thi", ""),
        ("cut off", Closer, End::Cut, "cut off", ""),
        ("cut off", PerhapsCloser, End::Cut, "", "cut off"),
        ("I need the weather", PerhapsCloser, End::Call, "I need the weather", ""),
        ("<think>so\n<tool_call>{}</tool_call>", Opener, End::Complete, "so", "<tool_call>{}</tool_call>"),
        ("<think>a</think>b, 5.</think>\n\n6", Opener, End::Complete, "a", "b, 5.\n\n6"),
        ("Sure.\n<think>a</think>\n7", Opener, End::Complete, "a", "Sure.\n7"),
        ("leaked</think>\n\n42", Opener, End::Complete, "", "leaked\n\n42"),
        ("  <thin ice", Opener, End::Complete, "", "  <thin ice"),
        ("a < b <", Opener, End::Complete, "", "a < b <"),
    ] {
        for size in 1..=content.chars().count() {
            let found = split_every(content, size, expects, end);
            assert_eq!(found, (reasoning.to_owned(), answer.to_owned()), "{content:?} cut every {size}");
        }
    }
}

#[test]
fn an_answer_flows_when_reasoning_has_a_field_of_its_own() {
    let mut splitter = Splitter::new(Expects::PerhapsCloser);
    assert_eq!(splitter.push("Hel"), []);
    assert_eq!(splitter.field_seen(), [Part::Answer("Hel".into())]);
    assert_eq!(splitter.push("lo"), [Part::Answer("lo".into())]);
}

#[test]
fn a_closing_tag_alone_is_told_from_one_that_is_talked_about() {
    for (content, closes) in [
        ("6 times 7\n</think>\n\n42", true),
        ("so 5.</think>5", true),
        ("models end thoughts with </think>", false),
        ("models write `</think>`", false),
        ("```\n</think>\n```", false),
        ("<think>a</think>b", false),
        ("none", false),
    ] {
        assert_eq!(closes_alone(content), closes, "{content:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_cut_changes_what_any_text_is(
        pieces in proptest::collection::vec("(<think>|</think>|<tool_call>|\n|`|```| |[a-z]{1,3}|想|<|</)", 0..16),
        cuts in proptest::collection::vec(0..64usize, 0..8),
        expects in proptest::sample::select(vec![Expects::Opener, Expects::PerhapsCloser, Expects::Closer]),
        end in proptest::sample::select(vec![End::Complete, End::Cut, End::Call]),
    ) {
        let content = pieces.concat();
        let whole = split_every(&content, usize::MAX, expects, end);
        let mut splitter = Splitter::new(expects);
        let mut parts = Vec::new();
        let mut rest = content.as_str();
        for cut in cuts {
            let at = rest.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(rest.len());
            let (head, tail) = rest.split_at(at);
            parts.extend(splitter.push(head));
            rest = tail;
        }
        parts.extend(splitter.push(rest));
        parts.extend(splitter.finish(end));
        let found = joined(parts);
        proptest::prop_assert_eq!(&found, &whole, "{:?}", content);
        // Nothing is invented, and only tags and the white space around them are dropped.
        let bare = |text: &str| {
            text.replace(OPENER, "").replace(CLOSER, "").replace(char::is_whitespace, "")
        };
        let (said, given) = (bare(&content).len(), bare(&found.0).len() + bare(&found.1).len());
        proptest::prop_assert_eq!(said, given, "{:?} became {:?}", content, found);
    }
}
