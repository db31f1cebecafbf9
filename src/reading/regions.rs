//! Finds what in a message is not the person's own words here and now: code, quotations, documents, and text
//! that is only there to be worked on.
//!
//! Works on normalised text, so full-width punctuation is plain here. Regions may overlap.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::tags::{elements, tags};

/// Why a stretch of text is not the ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKind {
    /// Between code fences or backticks.
    Code,
    /// In quotation marks, a title's marks, or a quoted line.
    Quote,
    /// Background: tagged or headed as document, context or reference.
    Document,
    /// Handed over to be translated, summarised, corrected, …
    Payload,
}

/// A stretch of normalised text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Why it is set apart.
    pub kind: RegionKind,
    /// Bytes of the normalised text.
    pub range: Range<usize>,
}

/// All regions of `text`, ordered by their start.
pub(super) fn find(text: &str) -> Vec<Region> {
    let mut regions = Vec::new();
    fences(text, &mut regions);
    inline_code(text, &mut regions);
    quoted_lines(text, &mut regions);
    quotations(text, &mut regions);
    tagged_documents(text, &mut regions);
    comments(text, &mut regions);
    objects(text, &mut regions);
    headed_documents(text, &mut regions);
    passage(text, &mut regions);
    payload(text, &mut regions);
    regions.sort_by_key(|region| region.range.start);
    regions
}

fn inside(regions: &[Region], at: usize) -> bool {
    regions.iter().any(|region| region.range.contains(&at))
}

/// Blocks fenced by three or more backticks or tildes; an unclosed one runs to the end. A longer fence holds
/// shorter ones, and a fence that names a language opens and does not close.
fn fences(text: &str, regions: &mut Vec<Region>) {
    let mut open: Option<(usize, &str)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        match open {
            None => open = fence_of(trimmed).map(|fence| (at, fence)),
            Some((start, fence)) if trimmed.ends_with(fence) => {
                regions.push(Region { kind: RegionKind::Code, range: start..at + line.len() });
                open = None;
            }
            Some(_) => {}
        }
        at += line.len();
    }
    if let Some((start, _)) = open {
        regions.push(Region { kind: RegionKind::Code, range: start..text.len() });
    }
}

/// The run of marks that opens a block, if the line is no block of its own.
fn fence_of(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let fence = &line[..line.len() - line.trim_start_matches(mark).len()];
    (fence.len() >= 3 && !line[fence.len()..].contains(fence)).then_some(fence)
}

/// Between single backticks within one line.
fn inline_code(text: &str, regions: &mut Vec<Region>) {
    if !text.contains('`') {
        return;
    }
    let mut open: Option<usize> = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, open) {
            (b'`', None) if !inside(regions, at) => open = Some(at),
            (b'`', Some(start)) => {
                if at > start + 1 {
                    regions.push(Region { kind: RegionKind::Code, range: start..at + 1 });
                }
                open = None;
            }
            (b'\n', Some(_)) => open = None,
            _ => {}
        }
    }
}

/// Lines that start with `>`, as mail and Markdown quote.
fn quoted_lines(text: &str, regions: &mut Vec<Region>) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        // `>=` and `>>>` start formulas and interpreter sessions, not quotations; `>> ` quotes a quotation.
        let quotes = trimmed.starts_with('>') && !trimmed.starts_with(">=") && !trimmed.starts_with(">>");
        if quotes || trimmed.starts_with(">> ") {
            regions.push(Region { kind: RegionKind::Quote, range: at..at + line.len() });
        }
        at += line.len();
    }
}

/// A quotation longer than this is more likely two stray marks.
const LONGEST_QUOTATION: usize = 2000;

/// Pairs of quotation marks within one paragraph.
fn quotations(text: &str, regions: &mut Vec<Region>) {
    let mut open: Vec<(usize, char)> = Vec::new();
    // First bytes of quotation marks; most of a text is passed over by these alone.
    let may_be_mark = |byte: u8| matches!(byte, b'"' | b'\'' | b'\n' | 0xc2 | 0xe2 | 0xe3);
    for (at, _) in text.bytes().enumerate().filter(|(_, byte)| may_be_mark(*byte)) {
        let mut chars = text[at..].chars();
        let c = chars.next().expect("these bytes start a character");
        let next = chars.next().unwrap_or(' ');
        let closes = open.last().is_some_and(|(_, closer)| *closer == c);
        if c == '\n' && next == '\n' {
            open.clear();
        } else if closes && (c != '\'' || !next.is_alphanumeric()) {
            let (start, _) = open.pop().expect("closes means one is open");
            if at - start <= LONGEST_QUOTATION {
                regions.push(Region { kind: RegionKind::Quote, range: start..at + c.len_utf8() });
            }
        } else if let Some(closer) = closer_of(c, || text[..at].chars().next_back().unwrap_or(' '), next) {
            open.push((at, closer));
        }
    }
}

fn closer_of(c: char, previous: impl Fn() -> char, next: char) -> Option<char> {
    match c {
        '“' => Some('”'),
        '‘' => Some('’'),
        '「' => Some('」'),
        '『' => Some('』'),
        '《' => Some('》'),
        '〈' => Some('〉'),
        '«' => Some('»'),
        '"' if !next.is_whitespace() => Some('"'),
        // An apostrophe follows a letter; inches and feet follow a digit.
        '\'' if !previous().is_alphanumeric() && !next.is_whitespace() => Some('\''),
        _ => None,
    }
}

/// Tags that fence off material a program put there. Tags around the person's own words (`<task>`, `<question>`,
/// `<user_query>`) are not in the list.
const DOCUMENT_TAGS: &[&str] = &[
    "article",
    "attachment",
    "attachments",
    "background",
    "chat_history",
    "cites",
    "code_selection",
    "context",
    "contexts",
    "conversation",
    "conversation_history",
    "current_file",
    "data",
    "doc",
    "docs",
    "document",
    "document_content",
    "documents",
    "email",
    "file",
    "file_content",
    "file_contents",
    "files",
    "folder_content",
    "history",
    "passage",
    "qa",
    "quote",
    "reference",
    "references",
    "search_result",
    "search_results",
    "source",
    "sources",
    "text",
    "transcript",
    "url_content",
    "web_content",
    "参考资料",
    "已知信息",
    "文档",
    "背景",
    "资料",
];

fn tagged_documents(text: &str, regions: &mut Vec<Region>) {
    let named = |name: &str| DOCUMENT_TAGS.contains(&name) || name.starts_with("retrieved");
    for element in elements(&tags(text), named) {
        regions.push(Region { kind: RegionKind::Document, range: element.outer });
    }
}

/// What Markdown and HTML hide from the reader.
fn comments(text: &str, regions: &mut Vec<Region>) {
    let mut at = 0;
    while let Some(start) = text[at..].find("<!--").map(|found| at + found) {
        let Some(end) = text[start..].find("-->").map(|found| start + found + 3) else { return };
        regions.push(Region { kind: RegionKind::Document, range: start..end });
        at = end;
    }
}

/// JSON objects: what a program filled in, whoever pasted it.
fn objects(text: &str, regions: &mut Vec<Region>) {
    let mut at = 0;
    while let Some(start) = text[at..].find('{').map(|found| at + found) {
        if !text[start + 1..].trim_start().starts_with('"') {
            at = start + 1;
            continue;
        }
        // Where one is not closed, nothing behind it can be told apart.
        let Some(end) = object_end(text, start) else { return };
        regions.push(Region { kind: RegionKind::Document, range: start..end });
        at = end;
    }
}

fn object_end(text: &str, start: usize) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (offset, byte) in text[start..].bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(start + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// 【背景】, ## Context, 材料: and the like, at the start of a line or in 【】.
static HEADING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?m)(?:【([^【】\n]{1,20})】|^#{1,6} *([^\n]{1,40}?) *:?$|^ *([\p{L} _-]{2,24}): *(?:\n|$)|^ *((?:background|context|documents?|passage|article|reference|references|材料|背景|背景资料|上下文|参考资料|资料|文章|原文|已知信息|知识库)): *)",
    )
    .expect("a constant pattern")
});

const DOCUMENT_HEADINGS: &[&str] = &[
    "背景",
    "背景资料",
    "背景信息",
    "材料",
    "资料",
    "参考资料",
    "参考",
    "上下文",
    "文章",
    "原文",
    "已知信息",
    "知识库",
    "引用",
    "附件",
    "文档",
    "阅读材料",
    "background",
    "context",
    "document",
    "documents",
    "passage",
    "article",
    "reference",
    "references",
    "retrieved documents",
    "search results",
    "sources",
    "source text",
    "transcript",
];

/// A heading that names background opens a document, which the next heading of any name closes.
fn headed_documents(text: &str, regions: &mut Vec<Region>) {
    let mut open: Option<usize> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        // Every heading has one of these marks.
        let marked = memchr::memchr2(b':', b'#', line.as_bytes()).is_some() || line.contains('【');
        let headings = marked.then(|| HEADING.captures_iter(line));
        for found in headings.into_iter().flatten() {
            let whole = found.get(0).expect("group 0 is the match");
            if let Some(start) = open.take() {
                regions.push(Region { kind: RegionKind::Document, range: start..at + whole.start() });
            }
            let name = (1..=4).find_map(|group| found.get(group)).map_or("", |name| name.as_str().trim());
            if DOCUMENT_HEADINGS.contains(&name) {
                open = Some(at + whole.end());
            }
        }
        at += line.len();
    }
    if let Some(start) = open {
        // A document that runs to the end holds the question too; blanking it would hide the ask.
        let end = text[start..].rfind("\n\n").map_or(start, |gap| start + gap);
        if end > start {
            regions.push(Region { kind: RegionKind::Document, range: start..end });
        }
    }
}

/// "Read the passage and answer", at the start.
static READ_FIRST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[^\n]{0,60}(?:阅读|根据|读一?下|read|based on|according to|given)[^\n]{0,40}(?:文章|材料|短文|内容|段落|文字|资料|passage|text|article|paragraph|context|document|story)[^\n]*\n")
        .expect("a constant pattern")
});
static QUESTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\n *(?:问题|提问|请问|question|q) ?[0-9]{0,2} ?:").expect("a constant pattern")
});

/// The passage of a reading exercise: between the instruction and the line that starts the question.
fn passage(text: &str, regions: &mut Vec<Region>) {
    let Some(instruction) = READ_FIRST.find(text) else { return };
    if let Some(question) = QUESTION.find_at(text, instruction.end()) {
        regions.push(Region { kind: RegionKind::Document, range: instruction.end()..question.start() });
    }
}

/// An instruction to work on the text that follows its colon or line break.
static WORK_ON: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^[^\n:]{0,160}?(?:",
        r"\b(?:translate|rewrite|rephrase|reword|paraphrase|summari[sz]e|proofread|polish|shorten|correct the|fix the grammar|classify the (?:sentiment|following)|extract|transcribe|reformat|convert the following text)\b",
        r"|翻译|译成|译为|改写|润色|总结|概括|归纳|摘要|缩写|扩写|校对|纠正|改错|续写|仿写|提取|分类",
        r")[^\n:]{0,120}?(?::|\n)",
    ))
    .expect("a constant pattern")
});

/// What every such instruction says, for a quick look: the full pattern's Unicode borders are slow.
static VERB: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"translate|rewrite|rephrase|reword|paraphrase|summari[sz]e|proofread|polish|shorten|correct the",
        r"|fix the grammar|classify the|extract|transcribe|reformat|convert the following",
        r"|翻译|译成|译为|改写|润色|总结|概括|归纳|摘要|缩写|扩写|校对|纠正|改错|续写|仿写|提取|分类",
    ))
    .expect("a constant pattern")
});

fn payload(text: &str, regions: &mut Vec<Region>) {
    // Nothing in the instruction crosses a colon or a line break, so it can only end at the first.
    let Some(end) = text.find([':', '\n']).map(|at| at + 1).filter(|end| *end < text.len()) else { return };
    let instructs = || VERB.is_match(&text[..end]) && WORK_ON.is_match(&text[..end]);
    if !inside(regions, end - 1) && instructs() {
        regions.push(Region { kind: RegionKind::Payload, range: end..text.len() });
    }
}
