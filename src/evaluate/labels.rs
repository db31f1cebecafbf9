//! Which rows plainly call for thinking and which plainly do not, by source and kind. Nothing in between is
//! labelled.

use super::rows::Row;

/// A field that rows are told apart by.
#[derive(Clone, Copy)]
enum Field {
    Source,
    Task,
    TaskRaw,
    Dataset,
    Subject,
}

/// A number that rows are told apart by.
#[derive(Clone, Copy)]
enum Number {
    Level,
    Steps,
}

/// When a line of the table speaks of a row of its file.
enum When {
    Always,
    /// The field has one of these values.
    Is(Field, &'static [&'static str]),
    /// The field ends in one of these.
    EndsIn(Field, &'static [&'static str]),
    /// One of the numbers reaches its mark.
    AnyFrom(&'static [(Number, f64)]),
}

struct Label {
    file: &'static str,
    when: When,
    thinks: bool,
    why: &'static str,
}

const fn hard(file: &'static str, when: When, why: &'static str) -> Label {
    Label { file, when, thinks: true, why }
}

const fn easy(file: &'static str, when: When, why: &'static str) -> Label {
    Label { file, when, thinks: false, why }
}

/// MT-Bench-101 has no line: its last turns lean on earlier ones, and the source labels the whole conversation.
const LABELS: &[Label] = &[
    hard("lb_olympiad_en", When::Always, "olympiad mathematics"),
    hard("lb_math500", When::AnyFrom(&[(Number::Level, 3.0)]), "competition mathematics of the upper levels"),
    hard("lb_college_math", When::Always, "textbook exercises with several steps"),
    hard("lb_agieval", When::Always, "law-school logic, algebra word problems, SAT mathematics"),
    hard("lb_logiqa_en", When::Always, "logic in words, without a mathematical sign"),
    hard(
        "sw_zeroeval",
        When::Is(Field::Source, &["zeroeval-math-l5", "zeroeval-crux"]),
        "the hardest level of MATH; running a program in the head",
    ),
    hard("sw_llmrouter_9models", When::Is(Field::Dataset, &["agentverse-logicgrid"]), "logic grids"),
    hard("sw_llmrouter_9models", When::Is(Field::Dataset, &["math"]), "competition mathematics"),
    hard("th_tts_frames", When::Always, "several hops: thinking doubles the accuracy of the measured models"),
    hard(
        "sw_gaokao_zh",
        When::EndsIn(
            Field::Subject,
            &["Math_I_MCQs", "Math_II_MCQs", "Physics_MCQs", "Chemistry_MCQs", "Biology_MCQs"],
        ),
        "college entrance examination in mathematics and sciences",
    ),
    hard(
        "lb_cmath_zh",
        When::AnyFrom(&[(Number::Steps, 3.0), (Number::Level, 5.0)]),
        "word problems of three steps, or of the upper grades",
    ),
    hard("lb_belle_eval_zh", When::Is(Field::Task, &["math"]), "word problems and equations"),
    easy("ch_smalltalk", When::Always, "greetings, small talk, trivia"),
    easy("ch_kdconv_zh", When::Always, "small talk about films and music"),
    easy("lb_chinese_simpleqa", When::Always, "one short fact: known or not"),
    easy("lb_cmrc_zh", When::Always, "a lookup in a given passage"),
    easy("th_tts_simpleqa", When::Always, "one short fact: thinking does not help the measured models"),
    easy("sw_llmrouter_9models", When::Is(Field::Dataset, &["trivia_qa", "natural_qa"]), "one short fact"),
    easy("lb_asdiv", When::Always, "one-step arithmetic in words"),
    easy(
        "lb_belle_eval_zh",
        When::Is(
            Field::Task,
            &[
                "rewrite",
                "extract",
                "translate",
                "summarize",
                "closed-qa",
                "classify",
                "open-qa",
                "chat",
                "brainstorm",
                "writing",
            ],
        ),
        "everyday instructions that no calculation or deduction stands behind",
    ),
    easy("lb_belle_seed_zh", When::Is(Field::TaskRaw, &["classification"]), "one label for a short text"),
    easy(
        "lb_self_instruct",
        When::Is(
            Field::TaskRaw,
            &[
                "breakfast_suggestion",
                "decline_a_job_offer_email",
                "explain_like_i_am_5",
                "what_time_to_use_humor",
                "ner_fill-in-the-blank",
                "grocery_list",
                "funny_interview_question",
                "address",
                "english_to_chinese_translation",
                "explain_behavior",
                "proverbs",
                "negative_blender_review",
                "learn_to_hedge",
                "de-stress_list",
                "recommendation_letter",
                "reducing_belly_fat_exercises",
                "fill_in_the_blank",
                "question_answering_generation_from_facts",
                "toxic_sentence_detection",
                "passive-aggressiveness_identification",
                "sentence_sentiment",
                "user_intent_identification",
                "fact_verification",
                "most_relevant_passage",
                "spam_classification",
                "promotion_identification",
                "birthday_planning_checklist",
                "refuse_invitation_email",
                "one_sentence_description",
                "horror_movie_opening",
                "cooking_recipe",
                "story_composition",
                "snack_suggestion",
                "exercise_explanation",
                "food_and_cooking_survey",
                "suggestion_for_breaking_up",
                "religion_adjectives",
                "synonym_generation",
                "add_to_the_list",
                "fact_to_conversation",
                "question_answering",
                "better_word_choice",
                "joke_about_phd",
                "sentence_with_specified_ending",
                "three_sentence_story",
                "summarizing_news",
                "food_and_drink_collocations",
                "fill_in_the_mask",
                "finding_toxic_words",
                "idiom_meaning",
                "recipe_by_ingredient",
                "cover_letter",
                "paper_title_generation",
                "new_ice_cream",
                "complete_the_lyrics",
                "english_haiku_generation",
                "city_todo_list",
                "question_answering_with_template",
                "product_description_generation",
                "explain_natural_phenomenon",
                "datatuner_example",
                "paraphrase_a_paragraph",
            ],
        ),
        "everyday writing, chat, extraction, translation and short facts, by name",
    ),
];

/// Whether a row of this source and kind should think; `None` where it is not plain.
#[must_use]
pub fn expects_thinking(row: &Row) -> Option<bool> {
    LABELS.iter().find(|label| label.file == row.file && label.when.holds(row)).map(|label| label.thinks)
}

/// File, expectation and reason of every line.
pub(super) fn reasons() -> impl Iterator<Item = (&'static str, bool, &'static str)> {
    LABELS.iter().map(|label| (label.file, label.thinks, label.why))
}

impl When {
    fn holds(&self, row: &Row) -> bool {
        match self {
            When::Always => true,
            When::Is(field, values) => field.of(row).is_some_and(|value| values.contains(&value)),
            When::EndsIn(field, ends) => {
                field.of(row).is_some_and(|value| ends.iter().any(|end| value.ends_with(end)))
            }
            When::AnyFrom(marks) => {
                marks.iter().any(|(number, mark)| number.of(row).is_some_and(|value| value >= *mark))
            }
        }
    }
}

impl Field {
    fn of(self, row: &Row) -> Option<&str> {
        match self {
            Field::Source => Some(&row.source),
            Field::Task => row.task.as_deref(),
            Field::TaskRaw => row.task_raw.as_deref(),
            Field::Dataset => row.dataset.as_deref(),
            Field::Subject => row.subject.as_deref(),
        }
    }
}

impl Number {
    fn of(self, row: &Row) -> Option<f64> {
        match self {
            Number::Level => row.level,
            Number::Steps => row.reasoning_steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file: &str) -> Row {
        Row { file: file.into(), ..Row::default() }
    }

    #[test]
    fn what_is_plain_is_labelled_and_what_lies_between_is_not() {
        let task = |task: &str| Row { task: Some(task.into()), ..row("lb_belle_eval_zh") };
        let level = |level, steps| Row { level, reasoning_steps: steps, ..row("lb_cmath_zh") };
        let subject = |subject: &str| Row { subject: Some(subject.into()), ..row("sw_gaokao_zh") };
        let dataset = |dataset: &str| Row { dataset: Some(dataset.into()), ..row("sw_llmrouter_9models") };
        for (row, expected) in [
            (row("lb_olympiad_en"), Some(true)),
            (row("ch_smalltalk"), Some(false)),
            (row("sw_routellm_mmlu"), None),
            (task("math"), Some(true)),
            (task("summarize"), Some(false)),
            (task("code"), None),
            (level(Some(2.0), Some(2.0)), None),
            (level(Some(2.0), Some(3.0)), Some(true)),
            (level(Some(5.0), Some(1.0)), Some(true)),
            (subject("2010-2022_Math_II_MCQs"), Some(true)),
            (subject("2010-2022_History_MCQs"), None),
            (dataset("trivia_qa"), Some(false)),
            (dataset("math"), Some(true)),
            (dataset("gsm8k"), None),
        ] {
            assert_eq!(expects_thinking(&row), expected, "{} {:?} {:?}", row.file, row.task, row.subject);
        }
    }
}
