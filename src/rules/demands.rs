//! What a text must hold for a pattern to match it, read off the pattern: where a match can start, and what else
//! must occur. Only ever too generous: a text that meets the demands may still not match.

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// More literals than this in one set, and looking for them costs more than it saves.
const MOST_LITERALS: usize = 250;
/// Shorter literals are everywhere.
const SHORTEST_LITERAL: usize = 2;

/// What stands right before a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// Anything.
    Open,
    /// An ASCII word border.
    Word,
    /// The start of a line.
    Line,
    /// The start of the text.
    Text,
}

/// Literals, one of which must occur behind an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literals {
    pub(super) edge: Edge,
    pub(super) any_of: Vec<Vec<u8>>,
}

/// Bytes, one of which must occur.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bytes([u64; 4]);

/// What must be in a text for a pattern to match it.
#[derive(Debug, Clone)]
pub(super) struct Demands {
    /// The edge that every match starts behind.
    pub(super) edge: Edge,
    /// The literals that every match starts with.
    pub(super) start: Option<Literals>,
    /// Literals further on.
    pub(super) inner: Option<Literals>,
    /// Bytes anywhere, all of these sets.
    pub(super) bytes: Vec<Bytes>,
}

impl Demands {
    /// Reads a pattern as it is compiled: `^` and `$` are lines.
    pub(super) fn of(pattern: &str) -> Self {
        let hir = regex_syntax::ParserBuilder::new().multi_line(true).build().parse(pattern);
        let Ok(hir) = hir else {
            return Demands { edge: Edge::Open, start: None, inner: None, bytes: Vec::new() };
        };
        let start = literals(&hir);
        let mut sets = Vec::new();
        inner_literals(&hir, &mut sets);
        let told = |inner: &Literals| start.as_ref().is_some_and(|start| tells(start, inner));
        sets.retain(|inner| shortest(inner) > SHORTEST_LITERAL && !told(inner));
        let mut bytes = Vec::new();
        needed_bytes(&hir, &mut bytes);
        bytes.retain(Bytes::are_rare);
        Demands { edge: edge_of(&hir), start, inner: rarest(sets), bytes }
    }
}

impl Bytes {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(super) fn meets(&self, other: &Bytes) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    fn join(mut self, other: Bytes) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
        self
    }

    /// Whether prose does without them: no letters, no space, nothing that begins a Chinese character or mark.
    fn are_rare(&self) -> bool {
        let common = (b'a'..=b'z').chain([b' ', b'\n', b'.', b',']).chain(0xe3..=0xe9);
        !self.meets(&common.collect())
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        let mut out = Bytes::default();
        bytes.into_iter().for_each(|byte| out.insert(byte));
        out
    }
}

/// The edge that every match starts behind.
fn edge_of(hir: &Hir) -> Edge {
    match hir.kind() {
        HirKind::Look(Look::Start) => Edge::Text,
        HirKind::Look(Look::StartLF) => Edge::Line,
        HirKind::Look(Look::WordAscii) => Edge::Word,
        HirKind::Capture(group) => edge_of(&group.sub),
        HirKind::Concat(parts) => parts.first().map_or(Edge::Open, edge_of),
        _ => Edge::Open,
    }
}

/// The literals one of which every match starts with; none where they are too many, too short or unbounded.
fn literals(hir: &Hir) -> Option<Literals> {
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(MOST_LITERALS).limit_class(40).limit_repeat(4);
    let sequence = extractor.extract(hir);
    let found = sequence.literals().filter(|found| !found.is_empty() && found.len() <= MOST_LITERALS)?;
    let long = |literal: &[u8]| (literal.len() >= SHORTEST_LITERAL).then(|| literal.to_vec());
    let any_of = found.iter().map(|literal| long(literal.as_bytes())).collect::<Option<Vec<_>>>()?;
    Some(Literals { edge: edge_of(hir), any_of })
}

/// Sets of literals that every match holds behind its start.
fn inner_literals(hir: &Hir, out: &mut Vec<Literals>) {
    match hir.kind() {
        HirKind::Concat(parts) => {
            for at in 1..parts.len() {
                match literals(&Hir::concat(parts[at..].to_vec())) {
                    Some(found) => out.push(found),
                    None => inner_literals(&parts[at], out),
                }
            }
        }
        HirKind::Capture(group) => inner_literals(&group.sub, out),
        HirKind::Repetition(repeated) if repeated.min > 0 => inner_literals(&repeated.sub, out),
        HirKind::Alternation(branches) => out.extend(branch_literals(branches)),
        _ => {}
    }
}

/// The best set of each branch, together; none where a branch has none.
fn branch_literals(branches: &[Hir]) -> Option<Literals> {
    let mut together = Literals { edge: Edge::Open, any_of: Vec::new() };
    for branch in branches {
        let mut sets: Vec<Literals> = literals(branch).into_iter().collect();
        inner_literals(branch, &mut sets);
        together.any_of.extend(rarest(sets)?.any_of);
    }
    (together.any_of.len() <= MOST_LITERALS).then_some(together)
}

/// Long literals are rare ones.
fn rarest(sets: Vec<Literals>) -> Option<Literals> {
    sets.into_iter().max_by_key(shortest)
}

fn shortest(set: &Literals) -> usize {
    set.any_of.iter().map(Vec::len).min().unwrap_or_default()
}

/// Whether every literal of `start` holds one of `inner`, which then says nothing new.
fn tells(start: &Literals, inner: &Literals) -> bool {
    let holds = |long: &Vec<u8>, short: &Vec<u8>| long.windows(short.len()).any(|part| part == short);
    start.any_of.iter().all(|long| inner.any_of.iter().any(|short| holds(long, short)))
}

/// Sets of bytes, one of each of which every match holds.
fn needed_bytes(hir: &Hir, out: &mut Vec<Bytes>) {
    match hir.kind() {
        HirKind::Literal(literal) => out.extend(literal.0.iter().map(|byte| Bytes::from_iter([*byte]))),
        HirKind::Class(class) => out.push(first_bytes(class)),
        HirKind::Repetition(repeated) if repeated.min > 0 => needed_bytes(&repeated.sub, out),
        HirKind::Capture(group) => needed_bytes(&group.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| needed_bytes(part, out)),
        HirKind::Alternation(branches) => {
            let rare_of = |branch: &Hir| {
                let mut sets = Vec::new();
                needed_bytes(branch, &mut sets);
                sets.into_iter().find(Bytes::are_rare)
            };
            let together =
                branches.iter().map(rare_of).try_fold(Bytes::default(), |all, rare| Some(all.join(rare?)));
            out.extend(together);
        }
        _ => {}
    }
}

/// The bytes that a character of the class may begin with.
fn first_bytes(class: &Class) -> Bytes {
    let mut out = Bytes::default();
    let first = |c: char| c.encode_utf8(&mut [0; 4]).as_bytes()[0];
    match class {
        Class::Unicode(class) => {
            let ranges = class.iter().map(|range| first(range.start())..=first(range.end()));
            ranges.flatten().for_each(|byte| out.insert(byte));
        }
        Class::Bytes(class) => {
            class.iter().flat_map(|range| range.start()..=range.end()).for_each(|byte| out.insert(byte));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(pattern: &str) -> Option<Vec<String>> {
        let text = |literal: &Vec<u8>| String::from_utf8_lossy(literal).into_owned();
        Demands::of(pattern).start.map(|start| start.any_of.iter().map(text).collect())
    }

    #[test]
    fn literals_are_found_behind_edges_and_groups() {
        assert_eq!(start(r"(?-u:\b)prove that"), Some(vec!["prove that".to_owned()]));
        assert_eq!(start("证明|求证").map(|found| found.len()), Some(2));
        assert_eq!(start(r"\d+ apples"), None);
        assert_eq!(start("a?b"), None);
        for (pattern, edge) in
            [(r"(?-u:\b)if", Edge::Word), ("^if", Edge::Line), (r"\Aif", Edge::Text), ("if", Edge::Open)]
        {
            assert_eq!(Demands::of(pattern).edge, edge, "{pattern}");
        }
    }

    #[test]
    fn what_must_follow_is_found_behind_gaps() {
        let inner = |pattern: &str| Demands::of(pattern).inner.map(|inner| inner.any_of);
        assert_eq!(inner(r"(?:which|what) (?:\w+ ){0,4}city"), Some(vec![b"city".to_vec()]));
        assert_eq!(inner(r"\d+ apples"), Some(vec![b" apples".to_vec()]));
        assert_eq!(inner("prove that"), None);
    }

    #[test]
    fn rare_bytes_are_demanded() {
        let met = |pattern: &str, text: &str| {
            Demands::of(pattern).bytes.iter().all(|set| set.meets(&text.bytes().collect()))
        };
        assert!(met(r"\d{2,} ?[*×x·] ?\d{2,}", "12x34") && !met(r"\d{2,} ?[*×x·] ?\d{2,}", "twelve"));
        assert!(met(r"\$|\d ?=", "$") && met(r"\$|\d ?=", "1=") && !met(r"\$|\d ?=", "one"));
    }
}
