//! Wishes about thinking in request fields and headers: one reader per spelling in use.
//!
//! Order is rank: a switch outranks an effort name. Budgets alone cap the thinking without asking for it.

use serde_json::Value;

use super::{Asks, BadRequest, Mode, Origin, Wish};
use crate::policy::Effort;

/// What the fields say about thinking.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FieldWishes {
    /// Switches and efforts, highest rank first.
    pub wishes: Vec<Wish>,
    /// The lowest cap on reasoning tokens that a field states.
    pub budget_cap: Option<u32>,
}

/// Reads every thinking field of a request body.
///
/// # Errors
/// A field that is present with a value outside its documented set.
pub fn wishes_in_fields(body: &Value) -> Result<FieldWishes, BadRequest> {
    let mut found = FieldWishes::default();
    for (path, read) in SWITCHES {
        let Some(value) = lookup(body, path) else { continue };
        if value.is_null() {
            continue;
        }
        if let Some(asks) = read(path, value)? {
            found.wishes.push(Wish::outside_text(Origin::Field, *path, asks));
        }
    }
    for path in BUDGETS {
        let Some(value) = lookup(body, path).filter(|value| !value.is_null()) else { continue };
        match budget(path, value)? {
            None => {}
            Some(0) => {
                found.wishes.push(Wish::outside_text(Origin::Field, *path, Asks::Thinking(Mode::Off, None)));
            }
            Some(tokens) => {
                found.budget_cap = Some(found.budget_cap.map_or(tokens, |cap| cap.min(tokens)));
            }
        }
    }
    if let Some(effort) = lookup(body, OUTPUT_EFFORT).filter(|value| !value.is_null()) {
        read_output_effort(effort, &mut found)?;
    }
    Ok(found)
}

/// Anthropic's word for how much an answer may spend. Claude Code sends it with every request, so that it caps thinking
/// and asks for none.
const OUTPUT_EFFORT: &str = "output_config.effort";

fn read_output_effort(value: &Value, found: &mut FieldWishes) -> Result<(), BadRequest> {
    match effort(OUTPUT_EFFORT, value)? {
        Some(Asks::Thinking(Mode::On, Some(tokens))) => {
            found.budget_cap = Some(found.budget_cap.map_or(tokens, |cap| cap.min(tokens)));
        }
        Some(asks) => found.wishes.push(Wish::outside_text(Origin::Field, OUTPUT_EFFORT, asks)),
        None => {}
    }
    Ok(())
}

/// Reads the value of the `x-thinkgate-thinking` header: `on`, `off`, `auto`, an effort name, or `budget=N`.
///
/// # Errors
/// Any other value.
pub fn wish_in_header(value: &str) -> Result<Option<Asks>, BadRequest> {
    let value = value.trim();
    if let Some(tokens) = value.strip_prefix("budget=") {
        let tokens: u32 = tokens.parse().map_err(|_| header_refused(value))?;
        let mode = if tokens == 0 { Mode::Off } else { Mode::On };
        return Ok(Some(Asks::Thinking(mode, (tokens > 0).then_some(tokens))));
    }
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(None),
        "on" | "true" => Ok(Some(Asks::Thinking(Mode::On, None))),
        "off" | "false" => Ok(Some(Asks::Thinking(Mode::Off, None))),
        name => {
            Effort::parse(name).map(|effort| Some(of_effort(effort))).ok_or_else(|| header_refused(value))
        }
    }
}

fn header_refused(value: &str) -> BadRequest {
    BadRequest::new(
        "x-thinkgate-thinking",
        format!(
            "header x-thinkgate-thinking: {value:?} is not one of on, off, auto, minimal, low, medium, high, xhigh, max, budget=N"
        ),
    )
}

type Reader = fn(&str, &Value) -> Result<Option<Asks>, BadRequest>;

/// Every switch in use, highest rank first. Who reads which: `thinking-protocols` in the design.
const SWITCHES: &[(&str, Reader)] = &[
    ("thinking", typed_object),
    ("enable_thinking", switch),
    ("chat_template_kwargs.enable_thinking", switch),
    ("chat_template_kwargs.thinking", switch),
    ("think", switch_or_effort),
    ("reasoning", reasoning_object),
    ("reasoning_effort", effort),
];

/// DashScope and SiliconFlow, vLLM, llama.cpp.
const BUDGETS: &[&str] = &["thinking_budget", "thinking_token_budget", "thinking_budget_tokens"];

fn lookup<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(body, |value, key| value.get(key))
}

fn switch(path: &str, value: &Value) -> Result<Option<Asks>, BadRequest> {
    match value {
        Value::Bool(true) => Ok(Some(Asks::Thinking(Mode::On, None))),
        Value::Bool(false) => Ok(Some(Asks::Thinking(Mode::Off, None))),
        other => Err(BadRequest::value(path, other, "true or false")),
    }
}

fn switch_or_effort(path: &str, value: &Value) -> Result<Option<Asks>, BadRequest> {
    if value.is_boolean() { switch(path, value) } else { effort(path, value) }
}

fn effort(path: &str, value: &Value) -> Result<Option<Asks>, BadRequest> {
    const ACCEPTED: &str = "one of none, minimal, low, medium, high, xhigh, max, auto";
    match value.as_str() {
        Some("auto" | "adaptive" | "default") => Ok(None),
        Some(name) => {
            let effort = Effort::parse(name).ok_or_else(|| BadRequest::value(path, value, ACCEPTED))?;
            Ok(Some(of_effort(effort)))
        }
        None => Err(BadRequest::value(path, value, ACCEPTED)),
    }
}

fn of_effort(effort: Effort) -> Asks {
    match effort {
        Effort::None => Asks::Thinking(Mode::Off, None),
        effort => Asks::Thinking(Mode::On, Some(effort.budget())),
    }
}

/// Anthropic's `{"type": "enabled", "budget_tokens": N}` and its kin; a bare boolean is understood too.
fn typed_object(path: &str, value: &Value) -> Result<Option<Asks>, BadRequest> {
    if value.is_boolean() {
        return switch(path, value);
    }
    let kind = value.get("type").and_then(Value::as_str);
    match kind {
        Some("disabled") => Ok(Some(Asks::Thinking(Mode::Off, None))),
        Some("adaptive" | "auto") => Ok(None),
        Some("enabled") => {
            let tokens = match value.get("budget_tokens") {
                None | Some(Value::Null) => None,
                Some(tokens) => budget("thinking.budget_tokens", tokens)?,
            };
            match tokens {
                Some(0) => Ok(Some(Asks::Thinking(Mode::Off, None))),
                tokens => Ok(Some(Asks::Thinking(Mode::On, tokens))),
            }
        }
        _ => Err(BadRequest::value(path, value, "an object whose \"type\" is enabled, disabled or adaptive")),
    }
}

/// OpenAI's and OpenRouter's `{"effort": …, "enabled": …, "max_tokens": …}`.
fn reasoning_object(path: &str, value: &Value) -> Result<Option<Asks>, BadRequest> {
    let Some(object) = value.as_object() else {
        return Err(BadRequest::value(path, value, "an object with effort, enabled or max_tokens"));
    };
    let present = |key: &str| object.get(key).filter(|value| !value.is_null());
    if let Some(name) = present("effort") {
        return effort("reasoning.effort", name);
    }
    if let Some(tokens) = present("max_tokens") {
        return Ok(budget("reasoning.max_tokens", tokens)?.map(|tokens| match tokens {
            0 => Asks::Thinking(Mode::Off, None),
            tokens => Asks::Thinking(Mode::On, Some(tokens)),
        }));
    }
    present("enabled").map_or(Ok(None), |enabled| switch("reasoning.enabled", enabled))
}

/// A token count; -1 is how several servers write "unlimited".
fn budget(path: &str, value: &Value) -> Result<Option<u32>, BadRequest> {
    if value.as_i64() == Some(-1) {
        return Ok(None);
    }
    let tokens = value.as_u64().ok_or_else(|| BadRequest::value(path, value, "a whole number of tokens"))?;
    Ok(Some(u32::try_from(tokens).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn first(body: &Value) -> Option<Asks> {
        wishes_in_fields(body).expect("valid fields").wishes.into_iter().next().map(|wish| wish.asks)
    }

    #[test]
    fn every_spelling_is_understood() {
        let off = Some(Asks::Thinking(Mode::Off, None));
        let on = Some(Asks::Thinking(Mode::On, None));
        for (body, asks) in [
            (json!({"enable_thinking": false}), off.clone()),
            (json!({"chat_template_kwargs": {"enable_thinking": false}}), off.clone()),
            (json!({"chat_template_kwargs": {"thinking": true}}), on.clone()),
            (json!({"thinking": {"type": "disabled"}}), off.clone()),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
                Some(Asks::Thinking(Mode::On, Some(2048))),
            ),
            (json!({"thinking": {"type": "adaptive"}}), None),
            (json!({"reasoning_effort": "none"}), off.clone()),
            (json!({"reasoning_effort": "high"}), Some(Asks::Thinking(Mode::On, Some(4096)))),
            (json!({"reasoning": {"effort": "low"}}), Some(Asks::Thinking(Mode::On, Some(1024)))),
            (json!({"reasoning": {"enabled": false}}), off.clone()),
            (json!({"think": true}), on),
            (json!({"think": "high"}), Some(Asks::Thinking(Mode::On, Some(4096)))),
            (json!({"thinking_budget": 0}), off),
            (json!({"thinking_budget": 300}), None),
            (json!({"enable_thinking": null}), None),
        ] {
            assert_eq!(first(&body), asks, "{body}");
        }
    }

    #[test]
    fn a_switch_outranks_an_effort() {
        let found = wishes_in_fields(&json!({"reasoning_effort": "high", "enable_thinking": false}))
            .expect("valid fields");
        assert_eq!(found.wishes[0].asks, Asks::Thinking(Mode::Off, None));
        assert_eq!(found.wishes.len(), 2, "the outranked wish is kept for the evidence");
    }

    #[test]
    fn budgets_cap_without_asking() {
        let found =
            wishes_in_fields(&json!({"thinking_budget": 900, "thinking_token_budget": 400})).expect("valid");
        assert_eq!((found.wishes.len(), found.budget_cap), (0, Some(400)));
        assert_eq!(wishes_in_fields(&json!({"thinking_budget": -1})).expect("valid").budget_cap, None);
    }

    #[test]
    fn what_claude_code_sends_with_every_request_asks_for_nothing() {
        for thinking in [json!({"type": "adaptive"}), json!({"type": "adaptive", "budget_tokens": 0})] {
            let body = json!({"thinking": thinking, "output_config": {"effort": "high"}});
            let found = wishes_in_fields(&body).expect("valid");
            assert_eq!((found.wishes.len(), found.budget_cap), (0, Some(4096)), "{body}");
        }
        let found =
            wishes_in_fields(&json!({"thinking": {"type": "enabled"}, "output_config": {"effort": "low"}}));
        let found = found.expect("valid");
        assert_eq!(found.wishes[0].asks, Asks::Thinking(Mode::On, None));
        assert_eq!(found.budget_cap, Some(1024));
        assert!(wishes_in_fields(&json!({"output_config": {"effort": "huge"}})).is_err());
    }

    #[test]
    fn refusals_name_field_and_value() {
        for (body, param) in [
            (json!({"enable_thinking": "false"}), "enable_thinking"),
            (json!({"reasoning_effort": "extreme"}), "reasoning_effort"),
            (json!({"thinking": {"type": "maybe"}}), "thinking"),
            (json!({"thinking": {"type": "enabled", "budget_tokens": -5}}), "thinking.budget_tokens"),
        ] {
            let refused = wishes_in_fields(&body).expect_err("refused");
            assert_eq!(refused.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn header_values() {
        assert_eq!(wish_in_header("off").expect("valid"), Some(Asks::Thinking(Mode::Off, None)));
        assert_eq!(wish_in_header("budget=700").expect("valid"), Some(Asks::Thinking(Mode::On, Some(700))));
        assert_eq!(wish_in_header("budget=0").expect("valid"), Some(Asks::Thinking(Mode::Off, None)));
        assert_eq!(wish_in_header("auto").expect("valid"), None);
        assert!(wish_in_header("perhaps").is_err());
    }
}
