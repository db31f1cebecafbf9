//! What the gateway's own request headers ask. The table of them for people is in the README; a header of our prefix that is
//! not in it is refused, because a misspelt wish that is passed over looks like one that was heard.

use axum::http::HeaderMap;

use super::error::ApiError;
use crate::backends::ExpertDetail;
use crate::config::ReasoningField;
use crate::conversation::{Asks, BadRequest, Conversation, Origin, Wish, unknown_model, wish_in_header};
use crate::policy::Policy;

const THINKING: &str = "x-thinkgate-thinking";
const MODEL: &str = "x-thinkgate-model";
const PRESET: &str = "x-thinkgate-preset";
const REASONING: &str = "x-thinkgate-reasoning";
const EXPERTS: &str = "x-thinkgate-experts";

const ASKING: [&str; 5] = [THINKING, MODEL, PRESET, REASONING, EXPERTS];
/// What only answers say. One gateway behind another may hand them on.
const TELLING: [&str; 6] = [
    "x-thinkgate-decision",
    "x-thinkgate-architecture",
    "x-thinkgate-score",
    "x-thinkgate-versions",
    "x-thinkgate-applied",
    "x-thinkgate-tokens",
];

/// What the gateway's own headers ask.
#[derive(Debug, Default)]
pub(super) struct Headers {
    thinking: Option<Asks>,
    model: Option<Named>,
    preset: Option<String>,
    /// Whether reasoning is shown, where the header says, and under which name.
    pub(super) reasoning: Option<Option<ReasoningField>>,
    /// What the client wants to know of the experts.
    pub(super) experts: Option<ExpertDetail>,
}

#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// The choice is free, whatever the body names.
    Auto,
    Model(String),
}

impl Headers {
    /// # Errors
    /// A header of ours that is unknown or has a value outside its set.
    pub(super) fn read(headers: &HeaderMap) -> Result<Headers, BadRequest> {
        for name in headers.keys().map(|name| name.as_str()) {
            let ours = name.starts_with("x-thinkgate-");
            if ours && !ASKING.contains(&name) && !TELLING.contains(&name) {
                let known = ASKING.join(", ");
                return Err(BadRequest::new(name, format!("header {name} is unknown; known are {known}")));
            }
        }
        let text = |name: &'static str| match headers.get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(Err(_)) => {
                Err(BadRequest::new(name, format!("header {name} holds characters outside ASCII")))
            }
        };
        Ok(Headers {
            thinking: text(THINKING)?.map(wish_in_header).transpose()?.flatten(),
            model: text(MODEL)?.map(|name| match name {
                "auto" => Named::Auto,
                name => Named::Model(name.to_owned()),
            }),
            preset: text(PRESET)?.map(str::to_owned),
            reasoning: text(REASONING)?.map(reasoning).transpose()?,
            experts: text(EXPERTS)?.map(experts).transpose()?,
        })
    }

    /// A header says which model, so that the body's need not be one of ours.
    pub(super) fn names_model(&self) -> bool {
        self.model.is_some()
    }

    /// Headers outrank everything else.
    pub(super) fn put_first(
        &self,
        conversation: &mut Conversation<'_>,
        policy: &Policy,
    ) -> Result<(), ApiError> {
        let mut wishes = Vec::new();
        if let Some(asks) = &self.thinking {
            wishes.push(Wish::outside_text(Origin::Header, THINKING, asks.clone()));
        }
        match &self.model {
            None => {}
            Some(Named::Auto) => conversation.model = None,
            Some(Named::Model(name)) if policy.models.iter().any(|model| model.name == *name) => {
                wishes.push(Wish::outside_text(Origin::Header, MODEL, Asks::Model(name.clone())));
            }
            Some(Named::Model(name)) => return Err(in_header(MODEL, unknown_model(name, policy)).into()),
        }
        if let Some(preset) = &self.preset {
            if !policy.presets.contains_key(preset) {
                let known: Vec<&str> = policy.presets.keys().map(String::as_str).collect();
                return Err(refused(PRESET, preset, &known.join(", ")).into());
            }
            conversation.preset = Some(preset.clone().into());
        }
        conversation.wishes.splice(0..0, wishes);
        Ok(())
    }
}

/// The same refusal, of what a header said.
fn in_header(name: &str, refusal: BadRequest) -> BadRequest {
    BadRequest {
        param: Some(name.to_owned()),
        message: format!("header {name}: {}", refusal.message),
        ..refusal
    }
}

fn refused(name: &str, value: &str, accepted: &str) -> BadRequest {
    BadRequest::new(name, format!("header {name}: {value:?} is not one of {accepted}"))
}

fn experts(value: &str) -> Result<ExpertDetail, BadRequest> {
    ExpertDetail::parse(value).ok_or_else(|| refused(EXPERTS, value, "summary, tokens"))
}

fn reasoning(value: &str) -> Result<Option<ReasoningField>, BadRequest> {
    if value == "hidden" {
        return Ok(None);
    }
    let field = ReasoningField::ALL.iter().find(|(name, _)| *name == value).map(|(_, field)| Some(*field));
    field.ok_or_else(|| refused(REASONING, value, "reasoning_content, reasoning, both, hidden"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<Headers, BadRequest> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a value"));
        Headers::read(&headers)
    }

    #[test]
    fn what_is_refused_is_named() {
        for (name, value) in [
            ("x-thinkgate-thinking", "perhaps"),
            ("x-thinkgate-experts", "all"),
            ("x-thinkgate-reasoning", "content"),
            ("x-thinkgate-thinkng", "off"),
        ] {
            let refused = read(name, value).expect_err(name);
            assert_eq!(refused.param.as_deref(), Some(name));
            assert!(refused.message.contains(name), "{}", refused.message);
        }
        assert!(read("x-thinkgate-decision", "thinking=on").is_ok(), "another gateway's word is no wish");
    }

    #[test]
    fn reasoning_is_shown_as_asked() {
        let shown = |value| read("x-thinkgate-reasoning", value).expect("accepted").reasoning;
        assert_eq!(shown("hidden"), Some(None));
        assert_eq!(shown("both"), Some(Some(ReasoningField::Both)));
        assert_eq!(shown(""), None);
    }
}
