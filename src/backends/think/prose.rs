//! "Is this tag a word of the answer?"

/// As much of the answer's last line as tells whether a tag is one of its words.
#[derive(Debug, Default)]
pub(super) struct Prose {
    /// Within a code block.
    fenced: bool,
    /// The line's first characters, without the space before them.
    head: String,
    /// Backticks on the line.
    ticks: usize,
    last: Option<char>,
}

impl Prose {
    pub(super) fn read(&mut self, text: &str) {
        for c in text.chars() {
            if c == '\n' {
                self.fenced ^= self.is_fence();
                self.head.clear();
                self.ticks = 0;
            } else if self.head.len() < 3 && !(self.head.is_empty() && c.is_whitespace()) {
                self.head.push(c);
            }
            self.ticks += usize::from(c == '`');
            self.last = Some(c);
        }
    }

    fn is_fence(&self) -> bool {
        self.head.starts_with("```") || self.head.starts_with("~~~")
    }

    fn is_quotation(&self) -> bool {
        let opens = |c: char| "`\"'“”‘’「『«（(".contains(c);
        self.fenced || self.is_fence() || self.ticks % 2 == 1 || self.last.is_some_and(opens)
    }

    fn is_among_words(&self) -> bool {
        self.last.is_some_and(|c| c == ' ' || c == '\t') && !self.head.is_empty()
    }

    pub(super) fn talks_of_opener(&self) -> bool {
        self.is_quotation() || self.is_among_words()
    }

    /// Behind thoughts, models that were cut short close them a second time.
    pub(super) fn talks_of_closer(&self, thought: bool) -> bool {
        self.is_quotation() || (self.is_among_words() && !thought)
    }
}
