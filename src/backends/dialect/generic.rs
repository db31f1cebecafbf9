//! Any server that speaks chat completions. Its thinking cannot be switched, so nothing is said about it: a field that
//! an unknown server refuses would cost the request.

use serde_json::{Map, Value};

pub(super) fn apply(body: &mut Map<String, Value>) {
    body.shift_remove("chat_template_kwargs");
}
