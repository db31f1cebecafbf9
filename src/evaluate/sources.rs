//! Which rows training may see: by source, by licence and by item.

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::rows::Row;

/// On which side of training a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// May be fitted on.
    Train,
    /// Kept back by item: one in five.
    HeldOut,
    /// Kept back as a whole source.
    NeverTrained,
}

/// What may be done with a file's rows.
struct Source {
    file: &'static str,
    /// Rows may be trained on at all.
    trained: bool,
    /// Shipped weights may be trained on them.
    licensed: bool,
    why: &'static str,
}

const fn trained(file: &'static str, why: &'static str) -> Source {
    Source { file, trained: true, licensed: true, why }
}

const fn unlicensed(file: &'static str, why: &'static str) -> Source {
    Source { file, trained: true, licensed: false, why }
}

const fn kept_back(file: &'static str, licensed: bool, why: &'static str) -> Source {
    Source { file, trained: false, licensed, why }
}

const SOURCES: &[Source] = &[
    trained("sw_routellm_mmlu", "MIT prompts, Apache-2.0 outcomes"),
    trained("sw_routellm_gsm8k", "MIT prompts, Apache-2.0 outcomes"),
    trained("sw_routerbench_zs", "CC-BY and CC-BY-SA prompts, MIT outcomes"),
    trained("sw_llmrouter_9models", "permissive or share-alike prompts per row, MIT outcomes"),
    trained("sw_zeroeval", "MIT prompts, Apache-2.0 outcomes"),
    trained("sw_gaokao_zh", "Apache-2.0 prompts, MIT outcomes"),
    trained("th_tts_simpleqa", "MIT"),
    trained("th_tts_frames", "Apache-2.0 prompts, MIT outcomes"),
    trained("lb_chinese_simpleqa", "MIT file; its hub page says NC-SA, a noted doubt"),
    trained("lb_cmath_zh", "CC-BY-4.0"),
    trained("lb_cmrc_zh", "CC-BY-SA-4.0"),
    trained("lb_arena_hard_v01", "Apache-2.0"),
    trained("lb_math500", "MIT"),
    trained("lb_olympiad_en", "Apache-2.0"),
    trained("lb_college_math", "CC-BY-3.0"),
    trained("lb_vsr_domains", "Apache-2.0, MIT questions"),
    trained("ch_mtbench101", "Apache-2.0"),
    trained("ch_smalltalk", "BSD-3-Clause"),
    trained("ms_blns", "MIT"),
    trained("ms_jailbreak", "Apache-2.0 and MIT"),
    unlicensed("th_qwen3_gsm8k", "outcomes from a repository without a licence file"),
    kept_back("lb_agieval", true, "hard English logic and algebra in words"),
    kept_back("lb_logiqa_en", false, "hard English logic in words; CC-BY-NC-SA"),
    kept_back("lb_asdiv", false, "easy English arithmetic; CC-BY-NC"),
    kept_back("lb_self_instruct", true, "everyday English instructions"),
    kept_back("lb_belle_eval_zh", false, "everyday Chinese instructions; the README allows research only"),
    kept_back("lb_belle_seed_zh", false, "everyday Chinese instructions; the README allows research only"),
    kept_back("sw_routerdc_cmmlu_zh", false, "Chinese exams with measured difficulty; CC-BY-NC-SA"),
    kept_back("ch_kdconv_zh", true, "Chinese small talk over several turns"),
];

fn source_of(row: &Row) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.file == row.file)
}

/// The side of training a row stands on. The same text falls on the same side whatever its source, so that a
/// question that several sources measured is never both trained on and measured. A file that the table does not
/// know was trained on by nobody.
#[must_use]
pub fn split(row: &Row) -> Split {
    match source_of(row) {
        Some(source) if source.trained => {
            let digest = Sha256::digest(normalised(&row.text()).as_bytes());
            let start = u64::from_be_bytes(std::array::from_fn(|at| digest[at]));
            if start % 5 == 0 { Split::HeldOut } else { Split::Train }
        }
        _ => Split::NeverTrained,
    }
}

/// Whether shipped weights may be trained on the row.
#[must_use]
pub fn licensed(row: &Row) -> bool {
    source_of(row).is_some_and(|source| source.licensed)
}

/// File, whether it is trained on at all, whether what ships may be, and the reason, for every known file.
pub(super) fn reasons() -> impl Iterator<Item = (&'static str, bool, bool, &'static str)> {
    SOURCES.iter().map(|source| (source.file, source.trained, source.licensed, source.why))
}

/// Letters and digits alone, folded: spacing, punctuation and case do not make another question. Text without
/// any stays as it is. Not the folding that rules match on, whose growth would move rows across the split.
#[must_use]
pub fn normalised(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect();
    if folded.is_empty() { text.to_owned() } else { folded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file: &str, text: &str) -> Row {
        let messages = serde_json::json!([{"role": "user", "content": text}]);
        Row { file: file.into(), messages, ..Row::default() }
    }

    #[test]
    fn one_question_falls_on_one_side_whatever_its_source_and_spacing() {
        let mut held_out = 0;
        for n in 0..1000 {
            let text = format!("What is {n} plus two?");
            let here = split(&row("sw_routellm_gsm8k", &text));
            let spaced = text.to_uppercase().replace(' ', "  ");
            assert_eq!(here, split(&row("sw_zeroeval", &spaced)));
            held_out += usize::from(here == Split::HeldOut);
        }
        assert!((150..250).contains(&held_out), "{held_out}");
    }

    #[test]
    fn the_split_is_frozen() {
        // A change of the hash would train on what older artefacts were measured on.
        let sides: Vec<bool> =
            (0..12).map(|n| split(&row("lb_math500", &format!("question {n}"))) == Split::HeldOut).collect();
        let held_out: Vec<usize> = (0..12).filter(|n| sides[*n]).collect();
        assert_eq!(held_out, [5, 6, 7, 10]);
    }

    #[test]
    fn whole_sources_are_kept_back() {
        for file in ["lb_agieval", "ch_kdconv_zh", "a_file_nobody_knows"] {
            assert_eq!(split(&row(file, "x")), Split::NeverTrained);
        }
        assert!(licensed(&row("lb_agieval", "x")) && licensed(&row("sw_zeroeval", "x")));
        for file in ["th_qwen3_gsm8k", "lb_belle_eval_zh", "lb_asdiv", "a_file_nobody_knows"] {
            assert!(!licensed(&row(file, "x")), "{file}");
        }
    }

    #[test]
    fn symbols_alone_are_told_apart() {
        assert_ne!(normalised("+-+"), normalised("***"));
        assert_eq!(normalised("Ｘ + 1 = ２!"), normalised("x+1=2"));
    }
}
