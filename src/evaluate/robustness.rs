//! Does the same request get the same decision however it is written?

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::bench::{Bench, EvaluateError};
use super::measured::{Judgement, Measured, in_parallel, judge};
use super::metrics::{Generator, share};
use super::perturb::{Family, Language, PERTURBATIONS};
use super::report::{Cell, Section, Table, Unit};

/// Rows drawn of each file, so that large ones do not speak for all.
const OF_EACH_FILE: usize = 25;
const FAMILIES: [Family; 4] = [Family::Unicode, Family::Typos, Family::Prefix, Family::Padding];

/// The suite's tables.
pub(super) fn section(bench: &Bench<'_>) -> Result<Section, EvaluateError> {
    let mut tables = Vec::new();
    for (code, name, language) in [("en", "English", Language::En), ("zh", "Chinese", Language::Zh)] {
        let rows = sample(bench, code);
        if rows.is_empty() {
            let why = format!("none in {} has a row in {name} that counts", bench.dir.display());
            return Err(EvaluateError::File { file: "*".to_owned(), why });
        }
        tables.push(Trial::of(bench, rows, language).table(bench, name));
    }
    Ok(Section {
        suite: "robustness",
        title: "Robustness",
        notes: vec![
            "The last user message is rewritten in ways that leave the right decision as it was; the share of \
             decisions (thinking on or off) that stay. Slips of the hand hit about 2 % of the letters, no digits."
                .to_owned(),
            format!("A seeded sample of up to {OF_EACH_FILE} rows of each file and language. Rows that a change leaves as they are do not count."),
            "Always off and always on keep 100 % by saying nothing; the constant mix, like shuffled decisions, keeps \
             what two independent draws have in common. Length only thinks from the length that gives the router's \
             share. Peers decide given rows, so they have no place here."
                .to_owned(),
        ],
        tables,
    })
}

fn sample<'a>(bench: &Bench<'a>, language: &str) -> Vec<&'a Measured> {
    let mut files: BTreeMap<&str, Vec<&Measured>> = BTreeMap::new();
    for row in bench.counted().filter(|row| row.row.lang == language && row.length > 0.0) {
        files.entry(&row.row.file).or_default().push(row);
    }
    let mut random = Generator::new(bench.settings.seed, 2);
    files
        .into_values()
        .flat_map(|mut rows| {
            random.shuffle(&mut rows);
            rows.truncate(OF_EACH_FILE);
            rows
        })
        .collect()
}

/// Rows with what became of them under every change.
struct Trial<'a> {
    rows: Vec<&'a Measured>,
    /// By change, then by row; `None` where it changes nothing.
    changed: Vec<Vec<Option<Changed>>>,
    /// Length from which "length only" thinks.
    long: f64,
    /// Share of rows that think as they stand.
    share: f64,
}

#[derive(Clone, Copy)]
struct Changed {
    judgement: Judgement,
    length: f64,
}

impl<'a> Trial<'a> {
    fn of(bench: &Bench<'_>, rows: Vec<&'a Measured>, language: Language) -> Self {
        let work: Vec<(usize, &Measured)> = rows.iter().copied().enumerate().collect();
        let by_row = in_parallel(work, |(at, row)| -> Vec<Option<Changed>> {
            (0..PERTURBATIONS.len()).map(|kind| change(bench, row, at, kind, language)).collect()
        });
        let of_kind = |kind: usize| by_row.iter().map(|changed| changed[kind]).collect();
        let changed = (0..PERTURBATIONS.len()).map(of_kind).collect();
        let thinking = rows.iter().filter(|row| row.judgement.on).count();
        let mut lengths: Vec<f64> = rows.iter().map(|row| row.length).collect();
        lengths.sort_by(|a, b| b.total_cmp(a));
        let long = if thinking == 0 { f64::INFINITY } else { lengths[thinking - 1] };
        Trial { share: thinking as f64 / rows.len() as f64, rows, changed, long }
    }

    fn table(&self, bench: &Bench<'_>, language: &str) -> Table {
        let mut table = Table::new(
            format!("Decisions unchanged, {language}"),
            format!("{} rows, of which {:.1} % think.", self.rows.len(), 100.0 * self.share),
            &[
                "change",
                "rows",
                "unchanged",
                "turned on",
                "turned off",
                "mean change of score",
                "length only",
                "constant mix",
                "always off or on",
            ],
        );
        for family in FAMILIES {
            let kinds = |of: &usize| PERTURBATIONS[*of].family == family;
            let all: Vec<usize> = (0..PERTURBATIONS.len()).filter(kinds).collect();
            for kind in &all {
                table.rows.push(self.line(bench, PERTURBATIONS[*kind].name, std::slice::from_ref(kind)));
            }
            table.rows.push(self.line(bench, &format!("all: {}", family.name()), &all));
        }
        table
    }

    /// A row counts once, as the mean over the changes that concern it.
    fn mean(&self, row: usize, kinds: &[usize], value: impl Fn(&Measured, &Changed) -> f64) -> f64 {
        let of = kinds.iter().filter_map(|kind| self.changed[*kind][row].as_ref());
        let (sum, count) =
            of.fold((0.0, 0.0), |(sum, count), changed| (sum + value(self.rows[row], changed), count + 1.0));
        sum / count
    }

    fn line(&self, bench: &Bench<'_>, name: &str, kinds: &[usize]) -> Vec<Cell> {
        let counts = |row: usize| kinds.iter().any(|kind| self.changed[*kind][row].is_some());
        let cell = |unit: Unit, value: fn(&Measured, &Changed) -> f64| {
            bench.cell(self.rows.len(), unit, |weights| {
                share(weights, counts, |row| self.mean(row, kinds, value))
            })
        };
        let by_length = |row: &Measured, changed: &Changed| {
            f64::from((row.length >= self.long) == (changed.length >= self.long))
        };
        let length = share(&vec![1.0; self.rows.len()], counts, |row| self.mean(row, kinds, by_length));
        vec![
            Cell::text(name),
            Cell::Count((0..self.rows.len()).filter(|row| counts(*row)).count()),
            cell(Unit::Percent, |row, changed| f64::from(row.judgement.on == changed.judgement.on)),
            cell(Unit::Percent, |row, changed| f64::from(!row.judgement.on && changed.judgement.on)),
            cell(Unit::Percent, |row, changed| f64::from(row.judgement.on && !changed.judgement.on)),
            cell(Unit::Plain, |row, changed| (row.judgement.score - changed.judgement.score).abs()),
            Cell::number(length, Unit::Percent),
            Cell::number(self.share.powi(2) + (1.0 - self.share).powi(2), Unit::Percent),
            Cell::number(1.0, Unit::Percent),
        ]
    }
}

fn change(bench: &Bench<'_>, row: &Measured, at: usize, kind: usize, language: Language) -> Option<Changed> {
    let mut conversation = row.row.conversation().ok()?;
    let last = conversation.last_user()?;
    let stream = (at * PERTURBATIONS.len() + kind) as u64;
    let mut random = Generator::new(bench.settings.seed, 1000 + stream);
    let text = PERTURBATIONS[kind].apply(&conversation.messages[last].text, language, &mut random)?;
    let length = text.chars().count() as f64;
    conversation.messages[last].text = Cow::Owned(text);
    Some(Changed { judgement: judge(&conversation, bench.snapshot), length })
}
