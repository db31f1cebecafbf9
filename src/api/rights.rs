//! What a key may ask for. What is refused names the key's limit; what is merely limited is told by the decision's notes.

use crate::config::Key;
use crate::conversation::{Asks, BadRequest, Conversation};
use crate::policy::Policy;

/// # Errors
/// A model or preset that the client named and its key may not use.
pub(super) fn check(key: &Key, conversation: &Conversation<'_>) -> Result<(), BadRequest> {
    let in_header = conversation.wishes.iter().find_map(|wish| match &wish.asks {
        Asks::Model(name) => Some((wish.by.as_str(), name.as_str())),
        Asks::Thinking(..) => None,
    });
    let in_body = conversation.model.as_deref().map(|name| ("model", name));
    for (param, name) in in_header.into_iter().chain(in_body) {
        if let Some(models) = key.models.as_ref().filter(|models| !models.iter().any(|model| model == name)) {
            return Err(refused(key, param, "model", name, models));
        }
    }
    let preset = conversation.preset.as_deref().filter(|name| key.preset.as_deref() != Some(*name));
    if let (Some(name), Some(presets)) = (preset, &key.presets)
        && !presets.iter().any(|preset| preset == name)
    {
        return Err(refused(key, "model", "preset", name, presets));
    }
    Ok(())
}

/// Sets the key's limits and its preset where the client named none.
pub(super) fn limit(key: &Key, conversation: &mut Conversation<'_>, policy: &Policy) {
    if conversation.preset.is_none() {
        conversation.preset = key.preset.clone().map(Into::into);
    }
    if let Some(most) = key.max_budget_tokens {
        conversation.budget_cap = Some(conversation.budget_cap.map_or(most, |cap| cap.min(most)));
    }
    if let Some(models) = &key.models {
        let names = policy.models.iter().map(|model| model.name.clone());
        conversation.barred = names.filter(|name| !models.contains(name)).collect();
    }
}

fn refused(key: &Key, param: &str, what: &str, name: &str, allowed: &[String]) -> BadRequest {
    BadRequest {
        param: Some(param.to_owned()),
        message: format!(
            "{param}: the key {:?} may not use the {what} {name:?}; it may use {}",
            key.name,
            allowed.join(", ")
        ),
        code: "not_permitted",
    }
}
