//! A text to be continued: no chat template renders it, so no word about thinking reaches the model.

use super::super::BackendError;
use super::super::applied::Applied;
use super::{Call, Endpoint, NEVER_FORWARDED, Outgoing, THINKING_FIELDS, Upstream, Wire, ask_for_usage};

/// The request to send.
///
/// # Errors
/// A server whose wire has nothing of the kind.
pub fn completion(call: &Call, upstream: &Upstream) -> Result<Outgoing, BackendError> {
    if upstream.wire != Wire::Chat {
        return Err(BackendError::Refused {
            param: "prompt".into(),
            message:
                "prompt: this model's server continues no plain text; send messages to /v1/chat/completions"
                    .into(),
            code: "unsupported_parameter",
        });
    }
    let mut body = call.body.clone();
    for field in THINKING_FIELDS.iter().chain(NEVER_FORWARDED) {
        body.shift_remove(*field);
    }
    body.insert("model".into(), upstream.model_id.clone().into());
    ask_for_usage(&mut body, call.stream);
    Ok(Outgoing {
        body,
        wire: Wire::Chat,
        endpoint: Endpoint::of_completion(upstream),
        applied: Applied::in_full(call),
        force_stream: false,
    })
}
