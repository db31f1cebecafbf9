//! `thinkgate classify`: decides every row of JSONL and writes one decision per line.
//!
//! A row holds `messages` (OpenAI chat), a whole request `body`, or a `prompt`. A row that cannot be read
//! comes out as a line with its number and the reason, so that rows in equal lines out.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde_json::{Value, json};

use super::explain::timed_decision;
use crate::conversation::{BadRequest, Conversation, Mode};
use crate::decide::{Decision, Snapshot, decide};

/// How rows are decided and shown.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Leave `micros` out, so that output is reproducible.
    pub no_timing: bool,
    /// Row fields to group the closing table by.
    pub summary: Vec<String>,
}

/// Counts of one group of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// Rows decided.
    pub rows: usize,
    /// Of these, how many think.
    pub on: usize,
    /// Of these, how many were between the thresholds.
    pub abstained: usize,
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Rows decided.
    pub decided: usize,
    /// Rows that could not be read.
    pub bad: usize,
    /// By the values of [`Options::summary`].
    pub groups: BTreeMap<Vec<String>, Group>,
}

/// Decides every row of `input`.
///
/// # Errors
/// Reading or writing failed.
pub fn run(
    input: impl BufRead,
    output: &mut impl Write,
    snapshot: &Snapshot,
    options: &Options,
    tally: &mut Tally,
) -> std::io::Result<()> {
    for (index, line) in input.split(b'\n').enumerate() {
        let line = line?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match decide_row(&line, snapshot, options) {
            Ok((row, decision)) => {
                tally.count(&row, &decision, &options.summary);
                serde_json::to_writer(&mut *output, &decision)?;
            }
            Err(reason) => {
                tally.bad += 1;
                serde_json::to_writer(&mut *output, &json!({"line": index + 1, "error": reason}))?;
            }
        }
        output.write_all(b"\n")?;
    }
    output.flush()
}

fn decide_row(line: &[u8], snapshot: &Snapshot, options: &Options) -> Result<(Value, Decision), String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let row: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let decision = {
        let conversation = conversation_of(&row).map_err(|error| error.message)?;
        let mut decision = if options.no_timing {
            decide(&conversation, snapshot)
        } else {
            timed_decision(&conversation, snapshot)
        };
        decision.id = row.get("id").or_else(|| row.get("custom_id")).cloned();
        decision
    };
    Ok((row, decision))
}

fn conversation_of(row: &Value) -> Result<Conversation<'_>, BadRequest> {
    if let Some(Value::String(prompt)) = row.get("prompt") {
        return Ok(Conversation::of_prompt(prompt));
    }
    let body = row.get("body").filter(|body| body.is_object()).unwrap_or(row);
    if body.get("messages").is_none() {
        return Err(BadRequest::unreadable_row());
    }
    // The model a log row names was another program's choice; offline, the choice is free.
    let mut conversation = Conversation::from_messages(&body["messages"])?;
    conversation.read_request_fields(body)?;
    Ok(conversation)
}

impl Tally {
    fn count(&mut self, row: &Value, decision: &Decision, keys: &[String]) {
        self.decided += 1;
        if keys.is_empty() {
            return;
        }
        let shown = |key: &String| match row.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "-".to_owned(),
            Some(other) => other.to_string(),
        };
        let group = self.groups.entry(keys.iter().map(shown).collect()).or_default();
        group.rows += 1;
        group.on += usize::from(decision.thinking.mode == Mode::On);
        group.abstained += usize::from(decision.abstained);
    }

    /// The table that [`Options::summary`] asked for.
    ///
    /// # Errors
    /// Writing failed.
    pub fn print(&self, keys: &[String], out: &mut impl Write) -> std::io::Result<()> {
        if !keys.is_empty() {
            writeln!(out, "{:<44} {:>7} {:>9} {:>8}", keys.join(" · "), "rows", "thinking", "unsure")?;
            #[expect(clippy::cast_precision_loss, reason = "percentages")]
            let share = |part: usize, all: usize| 100.0 * part as f64 / all.max(1) as f64;
            for (key, group) in &self.groups {
                let on = share(group.on, group.rows);
                let unsure = share(group.abstained, group.rows);
                writeln!(out, "{:<44} {:>7} {on:>7.1} % {unsure:>6.1} %", key.join(" · "), group.rows)?;
            }
        }
        writeln!(out, "{} rows decided, {} could not be read", self.decided, self.bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::rules::RuleSet;

    #[test]
    fn rows_in_equal_lines_out() {
        let rules = RuleSet::builtin().expect("the packs load");
        let policy = Policy { models: Vec::new(), presets: Policy::builtin_presets(), preset: "api".into() };
        let snapshot = Snapshot { rules, policy, classifier: None };
        let input = b"{\"id\":7,\"prompt\":\"hi\"}\n{broken\n\n{\"id\":\"b\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n{\"x\":1}";
        let mut output = Vec::new();
        let mut tally = Tally::default();
        let options = Options { no_timing: true, summary: vec!["id".into()] };
        run(&input[..], &mut output, &snapshot, &options, &mut tally).expect("in memory");
        let lines: Vec<Value> = String::from_utf8(output)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["id"], 7);
        assert_eq!(lines[1]["line"], 2);
        assert_eq!(lines[2]["id"], "b");
        assert!(lines[3]["error"].as_str().expect("a reason").contains("messages"));
        assert!(lines[0].get("micros").is_none());
        assert_eq!((tally.decided, tally.bad, tally.groups.len()), (2, 2, 2));
    }
}
