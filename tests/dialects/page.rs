//! `docs/dialects.md` is made of the records and of what the dialects write. `UPDATE=1 cargo test --test dialects` renews it.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use thinkgate::backends::capability::{Capability, Conflict, Counts, Depth, families, find, records};
use thinkgate::backends::dialect::outgoing;
use thinkgate::config::{Dialect, Wire};
use thinkgate::policy::ThinkingAbility;

use crate::support::{Intent, call, upstream};

const HEAD: &str = include_str!("page-head.md");

#[test]
fn the_page_is_what_the_records_and_dialects_say() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dialects.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("writable");
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == page, "docs/dialects.md is stale: UPDATE=1 cargo test --test dialects");
}

fn page() -> String {
    let mut out = HEAD.to_owned();
    for dialect in Dialect::ALL {
        let records = records(*dialect);
        writeln!(out, "\n## {}\n", dialect.as_str()).expect("a string");
        about(&mut out, *dialect, &records.default);
        out.push_str(
            "\n| models | thinking | off | on | budget 700 | effort xhigh |\n|---|---|---|---|---|---|\n",
        );
        row(&mut out, *dialect, "others", "vendor/unlisted", &records.default);
        for entry in &records.entries {
            if std::ptr::eq(find(*dialect, &entry.example), &entry.capability) {
                let ids: Vec<String> = entry.ids.iter().map(|id| format!("`{id}`")).collect();
                let shared = format!("such as `{}`", entry.example);
                let models = if entry.own { ids.join(" ") } else { shared };
                row(&mut out, *dialect, &models, &entry.example, &entry.capability);
            }
        }
    }
    sampling(&mut out);
    out
}

fn about(out: &mut String, dialect: Dialect, capability: &Capability) {
    let mut facts = Vec::new();
    if dialect.wire() != Wire::Chat {
        facts.push(format!("Wire: {}.", dialect.wire().as_str()));
    }
    match capability.budget {
        Some(rule) if rule.started_for_it => {
            facts.push("Budget: where `budget = true` says that the server was started for it.".into())
        }
        _ => {}
    }
    if let Some(either) = capability.either {
        let first = if either == Depth::Effort { "effort" } else { "budget" };
        facts.push(format!(
            "Effort and budget exclude each other; unless the client named one, the {first} is told."
        ));
    }
    if let Some(field) = &capability.reasoning_out {
        facts.push(format!("Reasoning comes in `{field}`."));
    }
    match capability.counts {
        Counts::Untold => {}
        Counts::Within => facts.push("Reasoning tokens are counted among the generated.".into()),
        Counts::Beside => facts.push("Reasoning tokens are counted beside the generated.".into()),
    }
    for (what, conflict) in
        [("A forced tool call", capability.forced_tools), ("An answer in JSON", capability.json)]
    {
        match conflict {
            Conflict::None => {}
            Conflict::TurnsOff => facts.push(format!("{what} turns thinking off.")),
            Conflict::TurnsOn => facts.push(format!("{what} is preceded by a thought in either mode.")),
            Conflict::Yields => facts.push(format!("{what} is left to the model.")),
        }
    }
    if capability.thinks_in_streams_only {
        facts.push("Thinks in streams only, so one is asked for.".into());
    }
    let list =
        |fields: &[String]| fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
    if !capability.refuses.is_empty() {
        facts.push(format!("Never sent: {}.", list(&capability.refuses)));
    }
    if !capability.refuses_thinking.is_empty() {
        facts.push(format!("Not sent while it thinks: {}.", list(&capability.refuses_thinking)));
    }
    facts.extend(capability.note.clone());
    writeln!(out, "{}", facts.join(" ")).expect("a string");
    writeln!(out, "\nChecked {}: {}.", capability.checked, capability.source.trim_end_matches('.'))
        .expect("a string");
}

fn row(out: &mut String, dialect: Dialect, models: &str, example: &str, capability: &Capability) {
    let thinking = match capability.thinking {
        ThinkingAbility::Hybrid => "both",
        ThinkingAbility::Always => "always",
        ThinkingAbility::Never => "never",
    };
    let cells: Vec<String> = Intent::ALL.iter().map(|(intent, _)| cell(dialect, example, *intent)).collect();
    writeln!(out, "| {models} | {thinking} | {} |", cells.join(" | ")).expect("a string");
}

/// What is said about thinking, and what is lost.
fn cell(dialect: Dialect, model: &str, intent: Intent) -> String {
    let mut upstream = upstream(dialect, model);
    upstream.budget = true;
    let body = json!({"model": "auto", "messages": [{"role": "user", "content": ""}]});
    let sent = outgoing(&call(body, intent), &upstream);
    let mut words: Map<String, Value> = sent.body;
    let soft =
        words.get("messages").and_then(|messages| messages.pointer("/0/content")).and_then(Value::as_str);
    let soft = soft.filter(|text| !text.is_empty()).map(|text| format!("`{}`", text.trim()));
    words.retain(|field, _| WORDS.contains(&field.as_str()));
    if let Some(config) = words.get_mut("generationConfig").and_then(Value::as_object_mut) {
        config.retain(|field, _| field == "thinkingConfig");
    }
    let said = (!words.is_empty()).then(|| {
        format!("`{}`", Value::from(words).to_string().replace("\":", "\": ").replace(",\"", ", \""))
    });
    let lossy: Vec<String> = sent.applied.lossy.iter().map(ToString::to_string).collect();
    let lost = (!lossy.is_empty()).then(|| lossy.join(", "));
    let parts: Vec<String> = soft.into_iter().chain(said).chain(lost).collect();
    if parts.is_empty() { "nothing".into() } else { parts.join(" ") }
}

const WORDS: &[&str] = &[
    "chat_template_kwargs",
    "enable_thinking",
    "thinking",
    "think",
    "reasoning",
    "reasoning_effort",
    "reasoning_format",
    "reasoning_split",
    "thinking_budget",
    "thinking_token_budget",
    "thinking_budget_tokens",
    "output_config",
    "generationConfig",
    "additionalModelRequestFields",
];

fn sampling(out: &mut String) {
    out.push_str(
        "\n## Sampling by mode\n\nSet where the client set none of it and the dialect's server takes it.\n\n",
    );
    out.push_str("| models | thinking | direct | checked | source |\n|---|---|---|---|---|\n");
    for family in families() {
        let ids: Vec<String> = family.ids.iter().map(|id| format!("`{id}`")).collect();
        let show = |fields: &Map<String, Value>| {
            fields.iter().map(|(field, value)| format!("{field} {value}")).collect::<Vec<_>>().join(", ")
        };
        let (thinking, direct) = (show(&family.thinking), show(&family.direct));
        writeln!(
            out,
            "| {} | {thinking} | {direct} | {} | {} |",
            ids.join(" "),
            family.checked,
            family.source
        )
        .expect("a string");
    }
}
