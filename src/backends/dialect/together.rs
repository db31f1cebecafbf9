//! Together: off by its object, on by an effort.

use serde_json::{Map, Value};

use super::plan::{Plan, Say};
use super::words;

pub(super) fn spell(body: &mut Map<String, Value>, plan: &Plan<'_>) {
    match plan.say {
        Say::Off => {
            words::object(body, "reasoning").insert("enabled".into(), false.into());
        }
        Say::On if plan.effort.is_none() => {
            words::object(body, "reasoning").insert("enabled".into(), true.into());
        }
        Say::On | Say::Least => words::effort(body, plan, "reasoning_effort"),
        Say::Nothing => {}
    }
}
