//! `thinkgate models`: what is configured and what is known.

use std::io::Write;

use serde_json::{Value, json};

use super::{Failure, probe};
use crate::catalogue::{self, Shape};
use crate::cli::ModelsArgs;
use crate::config::{Config, Model, Source};
use crate::policy::{Architecture, Skill};

/// Prints configured models and the catalogue, or what the models do when asked.
///
/// # Errors
/// A faulty configuration; a model that cannot be reached.
pub fn run(args: &ModelsArgs, out: &mut impl Write) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref()).map_err(Failure::usage)?;
    if args.probe {
        return probe::run(&config, args.json, out);
    }
    if args.json {
        let models: Vec<Value> = config.models.iter().map(describe).collect();
        let json = json!({"models": models, "catalogue": catalogue::entries()});
        writeln!(out, "{}", serde_json::to_string_pretty(&json).map_err(std::io::Error::from)?)?;
        return Ok(());
    }
    writeln!(out, "configured")?;
    heading(out)?;
    for model in &config.models {
        Row::of_model(model).print(out)?;
    }
    writeln!(out, "\ncatalogue")?;
    heading(out)?;
    for entry in catalogue::entries() {
        Row::of_shape(&entry.name, &entry.shape, entry.skill).print(out)?;
    }
    Ok(())
}

fn describe(model: &Model) -> Value {
    let source = match &model.source {
        Source::Embedded(_) => json!({"kind": "embedded"}),
        Source::Path(path) => json!({"kind": if path.is_dir() { "folder" } else { "gguf" }, "path": path}),
        Source::Upstream(upstream) => {
            json!({"kind": "upstream", "url": upstream.url.as_str(), "model_id": upstream.model_id,
                   "thinking_model_id": upstream.thinking_model_id, "dialect": upstream.dialect.as_str()})
        }
    };
    json!({"profile": model.profile, "shape": model.shape, "languages": model.languages, "source": source})
}

fn heading(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "  {:<18} {:<5} {:>8} {:>8} {:>7} {:>8} {:>7} {:>8}  runs on",
        "name", "arch", "total", "active", "experts", "context", "direct", "thinking"
    )
}

/// One line of the table.
struct Row<'m> {
    name: &'m str,
    architecture: Architecture,
    total: Option<u64>,
    active: Option<u64>,
    experts: Option<(u32, u32)>,
    context: Option<u32>,
    skill: Option<Skill>,
    place: String,
}

impl<'m> Row<'m> {
    fn of_model(model: &'m Model) -> Self {
        let profile = &model.profile;
        let place = match &model.source {
            Source::Embedded(_) => "this program".to_owned(),
            Source::Path(path) => path.display().to_string(),
            Source::Upstream(upstream) => upstream.url.to_string(),
        };
        Row {
            name: &profile.name,
            architecture: profile.architecture,
            total: profile.total_params,
            active: profile.active_params,
            experts: model.shape.as_ref().and_then(|shape| shape.experts.zip(shape.experts_per_token)),
            context: profile.context_length,
            skill: profile.skill,
            place,
        }
    }

    fn of_shape(name: &'m str, shape: &Shape, skill: Option<Skill>) -> Self {
        Row {
            name,
            architecture: shape.architecture,
            total: Some(shape.total_params),
            active: Some(shape.active_params),
            experts: shape.experts.zip(shape.experts_per_token),
            context: Some(shape.context_length),
            skill,
            place: String::new(),
        }
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let line = format!(
            "  {:<18} {:<5} {:>8} {:>8} {:>7} {:>8} {:>7} {:>8}  {}",
            self.name,
            self.architecture.as_str(),
            or_dash(self.total.map(count)),
            or_dash(self.active.map(count)),
            or_dash(self.experts.map(|(all, awake)| format!("{awake}/{all}"))),
            or_dash(self.context.map(|tokens| tokens.to_string())),
            or_dash(self.skill.map(|skill| format!("{:.3}", skill.direct))),
            or_dash(self.skill.map(|skill| format!("{:.3}", skill.thinking))),
            self.place
        );
        writeln!(out, "{}", line.trim_end())
    }
}

/// `30.5B`, `600M`, `993K`.
fn count(parameters: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three figures are shown")]
    let number = parameters as f64;
    let (value, unit) = match parameters {
        0..1_000_000 => (number / 1e3, "K"),
        1_000_000..1_000_000_000 => (number / 1e6, "M"),
        _ => (number / 1e9, "B"),
    };
    let text = if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_as_people_write_them() {
        for (parameters, text) in
            [(992_640, "993K"), (600_000_000, "600M"), (4_000_000_000, "4B"), (30_500_000_000, "30.5B")]
        {
            assert_eq!(count(parameters), text);
        }
    }
}
