//! What the router is held against: policies that read nothing, length alone, and the decisions of peers.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::metrics::{Generator, ModeOutcome};
use super::rows::{RowError, read_lines};
use crate::conversation::Mode;

/// One way to decide the rows of a table.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) name: String,
    /// Larger: sooner made to think, or sent to the strong model.
    pub(super) scores: Vec<f64>,
    /// Probability that the row is made to think, 0 or 1 but for the constant mix.
    pub(super) on: Vec<f64>,
    /// The score as a probability, where it claims to be one.
    pub(super) probabilities: Option<Vec<f64>>,
}

/// What the controls know of a row.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) length: f64,
}

/// Decisions of other routers, by name, then by row.
#[derive(Debug, Default)]
pub(super) struct Peers {
    decisions: BTreeMap<String, HashMap<String, PeerDecision>>,
}

#[derive(Debug, Clone, Deserialize)]
struct PeerDecision {
    id: String,
    thinking: Mode,
    score: f64,
    peer: Option<String>,
}

/// The name of the router's own line.
pub(super) const ROUTER: &str = "thinkgate";
/// The line of the same with a profile of the model.
pub(super) const PROFILED: &str = "with a profile";

impl Policy {
    /// The router's own decisions; the score is a probability.
    pub(super) fn router(scores: Vec<f64>, on: &[bool]) -> Policy {
        let on = on.iter().map(|on| f64::from(*on)).collect();
        Policy { name: ROUTER.to_owned(), probabilities: Some(scores.clone()), scores, on }
    }

    /// The same whatever the row.
    pub(super) fn constant(name: impl Into<String>, rows: usize, on: f64, probability: f64) -> Policy {
        Policy {
            name: name.into(),
            scores: vec![0.0; rows],
            on: vec![on; rows],
            probabilities: Some(vec![probability; rows]),
        }
    }

    /// Knows every outcome: thinks where only thinking is right, the cheapest first.
    pub(super) fn oracle(outcomes: &[ModeOutcome]) -> Policy {
        let score = |outcome: &ModeOutcome| {
            (outcome.think - outcome.direct) * 1e6 - (outcome.think_tokens - outcome.direct_tokens)
        };
        Policy {
            name: "oracle".to_owned(),
            scores: outcomes.iter().map(score).collect(),
            on: outcomes.iter().map(|outcome| f64::from(outcome.needs())).collect(),
            probabilities: None,
        }
    }

    /// The router's line, the controls of the same share, then the peers that decided all of these rows.
    pub(super) fn beside_controls(
        router: Policy,
        rows: &[Known],
        names: [&str; 2],
        base_rate: f64,
        peers: &Peers,
        seed: u64,
    ) -> Vec<Policy> {
        let count = rows.len();
        let share = router.on.iter().sum::<f64>() / count.max(1) as f64;
        let shuffled = shuffled(&router, seed);
        let length = by_length(rows, share);
        let mut policies = vec![
            router,
            Policy::constant(names[0], count, 0.0, 0.0),
            Policy::constant(names[1], count, 1.0, 1.0),
            Policy::constant("constant mix", count, share, base_rate),
            shuffled,
            length,
        ];
        policies.extend(peers.policies(rows));
        policies
    }
}

/// The router's decisions, each on another's row.
fn shuffled(router: &Policy, seed: u64) -> Policy {
    let mut order: Vec<usize> = (0..router.on.len()).collect();
    Generator::new(seed, 1).shuffle(&mut order);
    let moved = |values: &[f64]| -> Vec<f64> { order.iter().map(|at| values[*at]).collect() };
    Policy {
        name: "shuffled".to_owned(),
        scores: moved(&router.scores),
        on: moved(&router.on),
        probabilities: router.probabilities.as_deref().map(moved),
    }
}

/// The longest rows think, as many as the router makes think.
fn by_length(rows: &[Known], share: f64) -> Policy {
    let scores: Vec<f64> = rows.iter().map(|row| row.length).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut on = vec![0.0; rows.len()];
    for row in order.into_iter().take((share * rows.len() as f64).round() as usize) {
        on[row] = 1.0;
    }
    Policy { name: "length only".to_owned(), scores, on, probabilities: None }
}

impl Peers {
    /// Reads files of `{"id", "thinking": "on|off", "score", "peer"}` a line. A peer is named by `peer`, or by its
    /// file.
    pub(super) fn read(files: &[impl AsRef<Path>]) -> Result<Peers, RowError> {
        let mut peers = Peers::default();
        for file in files {
            let file = file.as_ref();
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("peer");
            read_lines(file, |line| {
                let decision: PeerDecision = serde_json::from_str(line).map_err(|error| error.to_string())?;
                let name = decision.peer.clone().unwrap_or_else(|| stem.to_owned());
                peers.decisions.entry(name).or_default().insert(decision.id.clone(), decision);
                Ok(())
            })?;
        }
        Ok(peers)
    }

    /// What a table should say of the peers that it leaves out.
    pub(super) fn missing(&self, rows: &[Known]) -> String {
        let lacks = |decisions: &HashMap<String, PeerDecision>| {
            rows.iter().filter(|row| !decisions.contains_key(&row.id)).count()
        };
        let told = self.decisions.iter().filter_map(|(name, decisions)| {
            let lacking = lacks(decisions);
            (lacking > 0)
                .then(|| format!(" {name} is left out: no decision for {lacking} of {} rows.", rows.len()))
        });
        told.collect()
    }

    /// One peer's scores, if it is known and decided all of these rows.
    pub(super) fn scores(&self, name: &str, rows: &[Known]) -> Option<Vec<f64>> {
        let decisions = self.decisions.get(name)?;
        rows.iter().map(|row| decisions.get(&row.id).map(|decision| decision.score)).collect()
    }

    fn policies(&self, rows: &[Known]) -> impl Iterator<Item = Policy> {
        self.decisions.iter().filter_map(|(name, decisions)| {
            let of_rows: Option<Vec<&PeerDecision>> = rows.iter().map(|row| decisions.get(&row.id)).collect();
            of_rows.map(|of_rows| Policy {
                name: name.clone(),
                scores: of_rows.iter().map(|decision| decision.score).collect(),
                on: of_rows.iter().map(|decision| f64::from(decision.thinking == Mode::On)).collect(),
                probabilities: None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Known> {
        (0..40).map(|n| Known { id: format!("r{n}"), length: f64::from((n * 7) % 40) }).collect()
    }

    fn policies(peers: &Peers) -> Vec<Policy> {
        let scores: Vec<f64> = (0..40).map(|n| f64::from(n) / 40.0).collect();
        let on: Vec<bool> = scores.iter().map(|score| *score >= 0.75).collect();
        Policy::beside_controls(Policy::router(scores, &on), &rows(), ["off", "on"], 0.3, peers, 1)
    }

    #[test]
    fn controls_decide_as_often_as_the_router() {
        let policies = policies(&Peers::default());
        let share = |policy: &Policy| policy.on.iter().sum::<f64>() / 40.0;
        let named: Vec<(&str, f64)> = policies.iter().map(|p| (p.name.as_str(), share(p))).collect();
        let expected = [
            (ROUTER, 0.25),
            ("off", 0.0),
            ("on", 1.0),
            ("constant mix", 0.25),
            ("shuffled", 0.25),
            ("length only", 0.25),
        ];
        assert_eq!(named, expected);
        let lengths = rows();
        assert!((0..40).all(|row| policies[5].on[row] == f64::from(lengths[row].length >= 30.0)));
        assert_ne!(policies[4].on, policies[0].on);
    }

    #[test]
    fn a_peer_stands_in_tables_whose_rows_it_decided() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("other.jsonl");
        let line = |n: usize| format!("{{\"id\":\"r{n}\",\"thinking\":\"on\",\"score\":{n}}}\n");
        std::fs::write(&file, (0..39).map(line).collect::<String>()).expect("written");
        let peers = Peers::read(&[&file]).expect("read");
        assert_eq!(policies(&peers).len(), 6);
        assert!(peers.missing(&rows()).contains("other is left out: no decision for 1 of 40 rows"));
        std::fs::write(&file, (0..40).map(line).collect::<String>()).expect("written");
        let peers = Peers::read(&[&file]).expect("read");
        assert_eq!(policies(&peers)[6].name, "other");
        assert!(peers.missing(&rows()).is_empty());
        std::fs::write(&file, "{\"id\":\"r\",\"thinking\":\"maybe\"}").expect("written");
        assert!(Peers::read(&[&file]).expect_err("a fault").to_string().contains("other.jsonl:1"));
    }
}
