//! A MoE's gate as a picture in the terminal: one row per layer, one cell per expert.

use std::io::{self, Write};

use crate::backends::{ExpertReport, LayerReport};

/// Beyond this many experts a cell is its shade alone.
const LABELLED: usize = 16;

/// Prints the share of the work that fell on each expert.
pub(super) fn print(report: &ExpertReport, out: &mut impl Write) -> io::Result<()> {
    let experts = report.layers.first().map_or(0, |layer| layer.share.len());
    writeln!(
        out,
        "\nexperts: {} of {experts} awake for each of {} tokens; % of a layer's choices ({} twice an even share or more)",
        report.experts_per_token,
        report.tokens,
        shade(2.0)
    )?;
    write!(out, "layer")?;
    if experts <= LABELLED {
        (0..experts).try_for_each(|expert| write!(out, "{expert:>6}"))?;
    } else {
        write!(out, "  {:<experts$}", format!("0 to {}", experts - 1))?;
    }
    writeln!(out, "  entropy  balance")?;
    report.layers.iter().try_for_each(|layer| print_layer(layer, out))
}

fn print_layer(layer: &LayerReport, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{:>5}", layer.layer)?;
    let even = layer.share.len() as f64;
    if layer.share.len() <= LABELLED {
        for share in &layer.share {
            write!(out, "  {}{:>3.0}", shade(share * even), share * 100.0)?;
        }
    } else {
        let shades: String = layer.share.iter().map(|share| shade(share * even)).collect();
        write!(out, "  {shades}")?;
    }
    writeln!(out, "  {:>7.2}  {:>7.2}", layer.entropy, layer.balance)
}

/// By the share in units of an even share.
fn shade(load: f64) -> char {
    match load {
        load if load < 0.25 => '·',
        load if load < 0.75 => '░',
        load if load < 1.25 => '▒',
        load if load < 2.0 => '▓',
        _ => '█',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(share: Vec<f64>) -> String {
        let layer = LayerReport { layer: 3, weight: share.clone(), share, entropy: 1.5, balance: 0.5 };
        let report = ExpertReport { tokens: 9, experts_per_token: 2, layers: vec![layer], trace: Vec::new() };
        let mut out = Vec::new();
        print(&report, &mut out).expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_few_experts_are_labelled_and_columns_stand_under_their_numbers() {
        let text = printed(vec![0.5, 0.25, 0.2, 0.05]);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "layer     0     1     2     3  entropy  balance");
        assert_eq!(lines[1], "    3  █ 50  ▒ 25  ▒ 20  ·  5     1.50     0.50");
    }

    #[test]
    fn many_experts_are_shades_alone() {
        let text = printed([vec![0.0; 64], vec![1.0 / 64.0; 64]].concat());
        assert!(text.contains(&format!("    3  {}{}     1.50", "·".repeat(64), "█".repeat(64))), "{text}");
        let widths: Vec<usize> = text.lines().skip(2).map(|line| line.chars().count()).collect();
        assert_eq!(widths[0], widths[1]);
    }
}
