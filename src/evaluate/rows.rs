//! Rows of public data sets in one format: prompts with measured outcomes and labels.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use crate::conversation::{BadRequest, Conversation};

pub use super::labels::expects_thinking;
pub use super::sources::{Split, licensed, normalised, split};

/// One prompt. A field is `None` where its source does not give it; nothing is guessed.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Row {
    /// Stable identifier.
    pub id: String,
    /// Source name, finer than [`Row::file`].
    pub source: String,
    /// Name of the file it came from, without `.jsonl` or `.jsonl.gz`.
    #[serde(skip)]
    pub file: String,
    /// Licence as found.
    #[serde(default)]
    pub license: String,
    /// `en`, `zh` or `other`.
    pub lang: String,
    /// OpenAI chat messages; the last one is the request to judge.
    pub messages: Value,
    /// Kind of work in the sources' common vocabulary.
    pub task: Option<String>,
    /// Kind of work in the source's own words.
    pub task_raw: Option<String>,
    /// School subject or domain.
    pub subject: Option<String>,
    /// Data set within a collection.
    pub dataset: Option<String>,
    /// Difficulty as the source numbers it.
    pub level: Option<f64>,
    /// Steps of the source's solution.
    pub reasoning_steps: Option<f64>,
    /// Share right of the strong model of the row's pair, 0..=1.
    pub strong_correct: Option<f64>,
    /// Share right of the weak model.
    pub weak_correct: Option<f64>,
    /// Share right of every model measured.
    #[serde(default)]
    pub model_scores: BTreeMap<String, f64>,
    /// Result with and without thinking of the row's own model.
    #[serde(flatten)]
    pub modes: Outcome,
    /// `toggle-same-weights`, `reasoner-vs-chat` or `cot-vs-direct`.
    pub mode_kind: Option<String>,
    /// The same for every model measured.
    #[serde(default)]
    pub mode_outcomes: BTreeMap<String, Outcome>,
    /// Known to be in the training data of a published router.
    #[serde(default)]
    pub contaminated: bool,
}

/// What one model did with and without thinking.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Outcome {
    /// Share right with thinking, 0..=1.
    pub think_correct: Option<f64>,
    /// Share right without.
    pub nothink_correct: Option<f64>,
    /// Tokens put out with thinking, thinking included.
    pub think_tokens: Option<f64>,
    /// Tokens put out without.
    pub nothink_tokens: Option<f64>,
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// A folder or file does not open or ends early.
    #[error("cannot read {}: {error}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The folder holds no rows.
    #[error("{}: holds no *.jsonl or *.jsonl.gz", .0.display())]
    Empty(PathBuf),
    /// A line is not a row.
    #[error("{}:{line}: {reason}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Row {
    /// The row as a request.
    ///
    /// # Errors
    /// `messages` are not OpenAI chat messages; [`read_dir`] lets no such row through.
    pub fn conversation(&self) -> Result<Conversation<'_>, BadRequest> {
        Conversation::from_messages(&self.messages)
    }

    /// The last user message, its text parts joined by line breaks; empty where there is none.
    #[must_use]
    pub fn text(&self) -> String {
        let Ok(conversation) = self.conversation() else { return String::new() };
        let last = conversation.last_user();
        last.map(|last| conversation.messages[last].text.to_string()).unwrap_or_default()
    }

    /// Bytes of all messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let conversation = self.conversation().unwrap_or_default();
        conversation.messages.iter().map(|message| message.text.len()).sum()
    }
}

/// Reads every `*.jsonl` and `*.jsonl.gz` of a folder, in the order of their names.
///
/// # Errors
/// The first file or line that cannot be read, by name and number, or a folder without rows.
pub fn read_dir(dir: &Path) -> Result<Vec<Row>, RowError> {
    let io = |error| RowError::Io { path: dir.to_owned(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if stem(&path).is_some() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(RowError::Empty(dir.to_owned()));
    }
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        read_file(&file, &mut rows)?;
    }
    Ok(rows)
}

fn read_file(path: &Path, rows: &mut Vec<Row>) -> Result<(), RowError> {
    let stem = stem(path).unwrap_or_default();
    read_lines(path, |line| {
        let mut row: Row = serde_json::from_str(line).map_err(|error| error.to_string())?;
        stem.clone_into(&mut row.file);
        row.conversation().map_err(|error| error.message)?;
        rows.push(row);
        Ok(())
    })
}

/// Gives every line that is not blank to `take`, of a file that may be gzipped.
///
/// # Errors
/// The file cannot be read, or what `take` says of a line.
pub fn read_lines(path: &Path, mut take: impl FnMut(&str) -> Result<(), String>) -> Result<(), RowError> {
    let io = |error| RowError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    let gzipped = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    for (index, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.map_err(io)?;
        if !line.trim().is_empty() {
            take(&line).map_err(|reason| RowError::Line {
                path: path.to_owned(),
                line: index + 1,
                reason,
            })?;
        }
    }
    Ok(())
}

fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".jsonl").or_else(|| name.strip_suffix(".jsonl.gz"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LINE: &str = r#"{"id":"a:1","source":"a","lang":"en","level":3,"think_correct":1,"think_tokens":90,
        "mode_outcomes":{"m":{"nothink_correct":0}},"messages":[{"role":"user","content":"one"},
        {"role":"assistant","content":"two"},{"role":"user","content":"three"}]}"#;

    #[test]
    fn plain_and_gzipped_files_give_the_same_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = LINE.replace('\n', " ");
        std::fs::write(folder.path().join("b.jsonl"), format!("{line}\n\n")).expect("written");
        let file = File::create(folder.path().join("a.jsonl.gz")).expect("created");
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packed.write_all(line.as_bytes()).expect("packed");
        packed.finish().expect("finished");
        std::fs::write(folder.path().join("README.md"), "no rows").expect("written");
        let rows = read_dir(folder.path()).expect("rows");
        let files: Vec<&str> = rows.iter().map(|row| row.file.as_str()).collect();
        assert_eq!(files, ["a", "b"]);
        for row in &rows {
            assert_eq!((row.text().as_str(), row.bytes(), row.level), ("three", 11, Some(3.0)));
            assert_eq!((row.modes.think_correct, row.modes.nothink_correct), (Some(1.0), None));
            assert_eq!(row.mode_outcomes["m"].nothink_correct, Some(0.0));
        }
    }

    #[test]
    fn faults_name_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(read_dir(folder.path()), Err(RowError::Empty(_))));
        let file = folder.path().join("a.jsonl");
        for (text, says) in [
            ("\n{\"id\":", "a.jsonl:2: EOF"),
            ("{\"id\":\"x\"}", "a.jsonl:1: missing field `source`"),
            (r#"{"id":"x","source":"s","lang":"en","messages":[]}"#, "a.jsonl:1: messages"),
        ] {
            std::fs::write(&file, text).expect("written");
            let error = read_dir(folder.path()).expect_err("a fault").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
