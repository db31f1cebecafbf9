//! Code, fenced or bare, stack traces and diffs. Bare code is told by how lines start and end, so prose that
//! is all semicolons would be misread.

use std::sync::LazyLock;

use regex::Regex;

use super::{Signal, Signals};
use crate::reading::{Reading, RegionKind};

// Borders are written out: Unicode ones are slow beside Chinese.
static CODE_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^\s*(?:def \w+\s*\(|class \w+\s*[:({]|import [\w.*{]+(?: as \w+)?;?$|from \S+ import |#include|#define|(?:public|private|protected|static) [\w<>\[\]]+ \w+\s*[({=;]|int \w+|(?:const|let|var)(?: mut)? \w+\s*[:=]|func \w*\(|(?:pub )?fn \w+|impl |elif |else:|try:|except(?:\W.*)?:|\} ?catch|package \w+;?$|select .+ from |insert into |create table |update \w+ set |<\?php|@\w+\(|\}|\{)|^\s+return(?:\W|$)",
        r"|[;{}]\s*$|^\s*\w+(?:\.\w+)*\s*(?:=|\+=|-=|:=)\s*\S|^\s*\w+(?:\.\w+)*\([^)]*\)\s*;?\s*$|^\s*(?:for|while|if|with) .+:\s*$",
    ))
    .expect("constant")
});
static TRACE_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?m)^\s*(?:traceback \(most recent|file ".+", line \d+|at [\w$.<>]+\(.*:\d+\)|\w*(?:error|exception)(?: \[[^\]]*\])?: |thread '.+' panicked|error\[e\d+\]|caused by: |segmentation fault|\S+:\d+:\d+: (?:error|warning))"#,
    )
    .expect("constant")
});
static DIFF_LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^(?:diff --git |@@ .* @@|\+\+\+ |--- a/|index [0-9a-f]{7,})").expect("constant")
});

pub(super) fn extract(reading: &Reading, signals: &mut Signals) {
    let (mut fences, mut inline, mut lines) = (0_usize, 0_usize, 0_usize);
    for code in reading.texts(RegionKind::Code) {
        if code.starts_with("```") || code.starts_with("~~~") || code.contains('\n') {
            fences += 1;
            lines += code.lines().count().saturating_sub(2);
        } else {
            inline += 1;
        }
    }
    let bare = reading.whole().lines().filter(|line| line.len() < 400 && is_code(line)).count();
    signals.set(Signal::CodeFences, fences);
    signals.set(Signal::CodeInline, inline);
    // One line that looks like code is as likely a sentence.
    signals.set(Signal::CodeLines, if bare >= 2 { lines.max(bare) } else { lines });
    signals.set(Signal::CodeStackTrace, TRACE_LINE.find_iter(reading.whole()).count());
    signals.set(Signal::CodeDiff, DIFF_LINE.find_iter(reading.whole()).count());
}

/// All code has letters or brackets of ASCII, which most Chinese lines lack.
fn is_code(line: &str) -> bool {
    let coded = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'{' | b'}' | b';' | b'=' | b'(');
    line.bytes().any(coded) && CODE_LINE.is_match(line)
}

#[cfg(test)]
mod tests {
    use super::super::tests::signals_of;
    use super::*;

    #[test]
    fn fenced_and_bare_code_is_counted() {
        let fenced = signals_of("Why slow?\n```py\nfor i in range(9):\n    print(i)\n```");
        assert_eq!((fenced.get(Signal::CodeFences), fenced.get(Signal::CodeLines)), (1.0, 2.0));
        let bare = signals_of("Why slow?\nfor i in range(9):\n    total += i\n    print(i)");
        assert_eq!(bare.get(Signal::CodeLines), 3.0);
        assert_eq!(signals_of("Tell me a story; make it long.").get(Signal::CodeLines), 0.0);
        assert_eq!(signals_of("Let us define joy.\nReturn to me.").get(Signal::CodeLines), 0.0);
    }

    #[test]
    fn traces_and_diffs() {
        let trace = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\nKeyError: 'x'";
        assert_eq!(signals_of(trace).get(Signal::CodeStackTrace), 3.0);
        assert_eq!(signals_of("diff --git a/x b/x\n@@ -1 +1 @@\n-a\n+b").get(Signal::CodeDiff), 2.0);
    }
}
