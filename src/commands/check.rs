//! `thinkgate check`: loads a rules folder, runs every example and case, and reports all faults.

use std::collections::BTreeMap;
use std::io::Write;

use crate::decide::Snapshot;
use crate::rules::{CaseOutcome, Fault, RuleSet, Stage};

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything holds.
    Passed,
    /// A rule file is faulty or a case failed.
    Failed,
}

/// Prints the faults of a folder that did not load.
///
/// # Errors
/// Writing failed.
pub fn report_faults(faults: &[Fault], out: &mut impl Write) -> std::io::Result<Outcome> {
    for fault in faults {
        writeln!(out, "{fault}")?;
    }
    writeln!(out, "{} fault{}", faults.len(), if faults.len() == 1 { "" } else { "s" })?;
    Ok(Outcome::Failed)
}

/// Runs every case and prints those that fail, then the counts by tag.
///
/// # Errors
/// Writing failed.
pub fn run_cases(snapshot: &Snapshot, out: &mut impl Write) -> std::io::Result<Outcome> {
    let mut by_tag: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut failed = 0;
    for case in snapshot.rules.cases() {
        let outcome = case.run(snapshot);
        let held = matches!(outcome, CaseOutcome::Held);
        for tag in &case.tags {
            let count = by_tag.entry(tag).or_default();
            count.0 += usize::from(held);
            count.1 += 1;
        }
        if let CaseOutcome::Failed(differences) = outcome {
            failed += 1;
            writeln!(out, "{} case {}: {:?}", case.file, case.number, case.title())?;
            for difference in differences {
                writeln!(out, "    {difference}")?;
            }
        }
    }
    summary(&snapshot.rules, &by_tag, failed, out)?;
    Ok(if failed == 0 { Outcome::Passed } else { Outcome::Failed })
}

fn summary(
    rules: &RuleSet,
    by_tag: &BTreeMap<&str, (usize, usize)>,
    failed: usize,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let mut packs: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in rules.rules().iter().filter(|rule| rule.stage != Stage::Retired) {
        *packs.entry(rule.pack()).or_default() += 1;
    }
    let examples: usize = rules.rules().iter().map(|rule| rule.matches.len() + rule.ignores.len()).sum();
    let packs: Vec<String> = packs.iter().map(|(pack, count)| format!("{pack} {count}")).collect();
    writeln!(out, "rules    {} in {} packs: {}", rules.rules().len(), packs.len(), packs.join(", "))?;
    writeln!(out, "examples {examples}, all as stated")?;
    writeln!(out, "cases    {} of {} hold", rules.cases().len() - failed, rules.cases().len())?;
    for (tag, (held, all)) in by_tag {
        writeln!(out, "  {tag:<12} {held:>4} of {all}")?;
    }
    writeln!(out, "version  {}", rules.version())
}
