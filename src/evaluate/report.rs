//! The tables, once as Markdown to read and once as JSON with the same numbers.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::metrics::Estimate;

/// Everything that one run measured.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was measured, and how to read it.
    pub notes: Vec<String>,
    /// What decided: versions, for the JSON.
    pub versions: Value,
    /// One per suite.
    pub sections: Vec<Section>,
}

/// One suite.
#[derive(Debug, Clone)]
pub struct Section {
    /// The suite's name.
    pub suite: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// How to read its tables.
    pub notes: Vec<String>,
    /// The tables.
    pub tables: Vec<Table>,
}

/// One table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Headings; as many as every row has cells.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
}

/// What a table holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A count.
    Count(usize),
    /// A number, with its interval where it has one.
    Number {
        /// The figure.
        value: f64,
        /// 95 % of resamples lie between these.
        interval: Option<(f64, f64)>,
        /// How it is written.
        unit: Unit,
    },
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Three decimals.
    Plain,
    /// A share, in hundredths.
    Percent,
    /// No decimals.
    Whole,
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    /// A number without an interval.
    #[must_use]
    pub fn number(value: f64, unit: Unit) -> Cell {
        Cell::Number { value, interval: None, unit }
    }

    /// A number with its interval.
    #[must_use]
    pub fn estimate(estimate: Estimate, unit: Unit) -> Cell {
        Cell::Number { value: estimate.value, interval: Some((estimate.low, estimate.high)), unit }
    }

    fn markdown(&self) -> String {
        match self {
            Cell::Text(text) => text.replace('|', "\\|").replace('\n', " "),
            Cell::Count(count) => count.to_string(),
            Cell::Number { value, .. } if !value.is_finite() => "–".to_owned(),
            // What cannot vary needs no interval.
            Cell::Number { value, interval: Some((low, high)), unit } if high - low > 1e-9 => {
                format!("{} ({} to {})", unit.write(*value), unit.write(*low), unit.write(*high))
            }
            Cell::Number { value, unit, .. } => unit.write(*value),
        }
    }

    /// Numbers that do not exist become null.
    fn json(&self) -> Value {
        let finite = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
        match self {
            Cell::Text(text) => json!(text),
            Cell::Count(count) => json!(count),
            Cell::Number { value, interval: Some((low, high)), .. } => {
                json!({"value": finite(*value), "low": finite(*low), "high": finite(*high)})
            }
            Cell::Number { value, .. } => finite(*value),
        }
    }
}

impl Unit {
    fn write(self, value: f64) -> String {
        // -0.0004 rounds to a zero that needs no sign.
        let value = if value.abs() < 5e-4 { 0.0 } else { value };
        match self {
            Unit::Plain => format!("{value:.3}"),
            Unit::Percent => format!("{:.1} %", 100.0 * value),
            Unit::Whole => format!("{value:.0}"),
        }
    }
}

impl Table {
    /// An empty table with these headings.
    pub fn new(title: impl Into<String>, note: impl Into<String>, columns: &[&str]) -> Table {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Table { title: title.into(), note: note.into(), columns, rows: Vec::new() }
    }

    /// The table under its heading.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        let line = |out: &mut String, cells: &[String]| {
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        };
        let _ = writeln!(out, "\n### {}\n", self.title);
        if !self.note.is_empty() {
            let _ = writeln!(out, "{}\n", self.note);
        }
        line(out, &self.columns);
        let rules: Vec<String> =
            (0..self.columns.len()).map(|at| if at == 0 { "---" } else { "---:" }.to_owned()).collect();
        line(out, &rules);
        for row in &self.rows {
            line(out, &row.iter().map(Cell::markdown).collect::<Vec<_>>());
        }
        if self.rows.is_empty() {
            let _ = writeln!(out, "\nNone.");
        }
    }

    fn json(&self) -> Value {
        let row = |cells: &Vec<Cell>| -> Map<String, Value> {
            self.columns.iter().cloned().zip(cells.iter().map(Cell::json)).collect()
        };
        json!({
            "title": self.title,
            "note": self.note,
            "columns": self.columns,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

impl Report {
    /// A page with all tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::from("# Decision quality\n\nWritten by `thinkgate evaluate`.\n\n");
        for note in &self.notes {
            let _ = writeln!(out, "- {note}");
        }
        for section in &self.sections {
            let _ = writeln!(out, "\n## {}\n", section.title);
            for note in &section.notes {
                let _ = writeln!(out, "- {note}");
            }
            for table in &section.tables {
                table.write(&mut out);
            }
        }
        out
    }

    /// The same numbers, unrounded.
    #[must_use]
    pub fn json(&self) -> Value {
        let section = |section: &Section| {
            json!({
                "suite": section.suite,
                "title": section.title,
                "notes": section.notes,
                "tables": section.tables.iter().map(Table::json).collect::<Vec<_>>(),
            })
        };
        json!({
            "notes": self.notes,
            "versions": self.versions,
            "suites": self.sections.iter().map(section).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_the_same_numbers() {
        let mut table = Table::new("T", "", &["policy", "area", "share", "rows"]);
        let estimate = Estimate { value: 0.12345, low: 0.1, high: 0.2 };
        table.rows.push(vec![
            Cell::text("a|b"),
            Cell::estimate(estimate, Unit::Plain),
            Cell::number(f64::NAN, Unit::Percent),
            Cell::Count(7),
        ]);
        let section = Section { suite: "s", title: "S", notes: vec!["n".into()], tables: vec![table] };
        let report = Report { sections: vec![section], ..Report::default() };
        let markdown = report.markdown();
        assert!(markdown.contains("| a\\|b | 0.123 (0.100 to 0.200) | – | 7 |"), "{markdown}");
        let row = &report.json()["suites"][0]["tables"][0]["rows"][0];
        assert_eq!(row["area"]["value"], 0.12345);
        assert!(row["share"].is_null() && row["rows"] == 7);
    }

    #[test]
    fn shares_are_written_in_hundredths_and_zero_without_a_sign() {
        assert_eq!(Unit::Percent.write(0.0456), "4.6 %");
        assert_eq!((Unit::Plain.write(-0.0001), Unit::Whole.write(752.6)), ("0.000".into(), "753".into()));
    }
}
