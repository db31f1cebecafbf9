//! The commands and their flags, nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Decides, for every prompt, whether a language model should think before it answers, for how long, and which model
/// should answer; then gets the answer.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do; `serve` if left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`, for when it is left out.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(ServeArgs),
    /// Decide, generate on a configured model, and stream reasoning and answer to the terminal
    Ask(AskArgs),
    /// Show the decision for one prompt, its evidence and what would flip it
    Explain(ExplainArgs),
    /// Decide every row of JSONL files
    Classify(ClassifyArgs),
    /// Measure decision quality on rows with known outcomes
    Evaluate(EvaluateArgs),
    /// Fit a profile of what thinking buys on each model
    Calibrate(CalibrateArgs),
    /// Load and lint rules and run every example and case
    Check(CheckArgs),
    /// List configured and known models
    Models(ModelsArgs),
}

/// Run the gateway.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:
  thinkgate serve
  thinkgate serve --config thinkgate.toml --listen 127.0.0.1:9090

Without a config, two small embedded models answer on http://127.0.0.1:8080. Rules, classifier, presets and keys of a config
are read again when their files change, and on SIGHUP.")]
pub struct ServeArgs {
    /// The configuration; built-in where left out
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen; outranks the configuration
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<std::net::SocketAddr>,
    /// Listen beyond this machine without any keys
    #[arg(long)]
    pub insecure_no_auth: bool,
}

/// Decide and generate.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thinkgate ask \"37*48=?\"
  thinkgate ask --think on --budget 200 --seed 1 \"How many days are there from 2024-02-10 to 2024-03-15?\"
  thinkgate ask --model pico-moe --experts --think off \"What is 3 + 4?\"")]
pub struct AskArgs {
    /// What to ask
    pub prompt: String,
    /// Whether to think
    #[arg(long, value_enum, default_value_t = Think::Auto)]
    pub think: Think,
    /// The model to ask; chosen where left out
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Most reasoning tokens; implies --think on
    #[arg(long, value_name = "TOKENS")]
    pub budget: Option<u32>,
    /// The configuration; built-in where left out
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Makes sampling repeatable
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Most generated tokens, reasoning included
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// Show which experts of a MoE worked on it
    #[arg(long)]
    pub experts: bool,
}

/// Whether to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Think {
    /// Think first
    On,
    /// Answer at once
    Off,
    /// Decide
    Auto,
}

/// Show one decision.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thinkgate explain \"已知x²+2x+1=0，求x的值\"
  thinkgate explain --json --no-timing --messages conversation.json
  thinkgate explain --preset debug \"Compare TCP and UDP\"")]
pub struct ExplainArgs {
    /// The prompt; `-` reads it from standard input
    #[arg(required_unless_present = "messages", conflicts_with = "messages")]
    pub prompt: Option<String>,
    /// A JSON file: an array of OpenAI messages, or a whole request body
    #[arg(long, value_name = "FILE")]
    pub messages: Option<PathBuf>,
    /// Print the decision as JSON
    #[arg(long)]
    pub json: bool,
    /// How to decide
    #[command(flatten)]
    pub decide: DecideArgs,
}

/// Decide many rows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thinkgate classify prompts.jsonl --output decisions.jsonl
  cat prompts.jsonl | thinkgate classify - --no-timing --summary language

Rows hold `messages`, a whole request `body`, or a `prompt`.")]
pub struct ClassifyArgs {
    /// JSONL files; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Where decisions go, one line per row; standard output where left out
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Row fields to group the closing table by
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub summary: Vec<String>,
    /// How to decide
    #[command(flatten)]
    pub decide: DecideArgs,
}

/// How to decide.
#[derive(Debug, Clone, Default, Args)]
pub struct DecideArgs {
    /// The configuration; built-in where left out
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The preset to decide under
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Leave the time out, so that output is reproducible
    #[arg(long)]
    pub no_timing: bool,
}

/// Measure decision quality.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thinkgate evaluate --suite all --data data/ --output docs/quality.md --json quality.json
  thinkgate evaluate --suite thinking --data data/ --peers other-router.jsonl
  thinkgate evaluate --suite zh-en

Only rows that training never saw are measured, unless --split all. Peers are JSONL: id, thinking (on or off), score.")]
pub struct EvaluateArgs {
    /// Which tables
    #[arg(long, value_enum, default_value_t = SuiteArg::All)]
    pub suite: SuiteArg,
    /// A folder of rows, *.jsonl or *.jsonl.gz; zh-en does without
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A folder with parity.jsonl; the built-in questions where left out
    #[arg(long, value_name = "DIR")]
    pub written: Option<PathBuf>,
    /// Decisions of another router on these rows; may be given again
    #[arg(long, value_name = "FILE")]
    pub peers: Vec<PathBuf>,
    /// Where the Markdown goes; standard output where left out
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where the same numbers go as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The configuration; built-in where left out
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which rows
    #[arg(long, value_enum, default_value_t = SplitArg::HeldOut)]
    pub split: SplitArg,
    /// Draws behind each interval
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub resamples: usize,
    /// Makes every draw repeatable
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Fit profiles of models.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thinkgate calibrate --eval outcomes.jsonl
  thinkgate calibrate --config thinkgate.toml --eval a.jsonl b.jsonl.gz --model large=Qwen3-14B --output calibration.toml
  thinkgate calibrate --eval answers.jsonl

A row holds `messages` or a `prompt`, and what each model made of it: `mode_outcomes`, by model `think_correct`,
`nothink_correct`, `think_tokens`, `nothink_tokens`; or these four with `mode_models`; or an `answer`, which the built-in models
are then asked for in both modes.")]
pub struct CalibrateArgs {
    /// JSONL files of rows with measured outcomes or answers, plain or gzipped
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub eval: Vec<PathBuf>,
    /// The model of this configured name is that of the rows; only those given are fitted
    #[arg(long, value_name = "NAME=NAME_IN_FILE")]
    pub model: Vec<String>,
    /// The configuration; built-in where left out
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the profiles go
    #[arg(long, value_name = "FILE", default_value = "calibration.toml")]
    pub output: PathBuf,
    /// Draws behind each interval
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub resamples: usize,
    /// Makes every draw and answer repeatable
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Which tables to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SuiteArg {
    /// Does it think where that is called for, and did thinking pay?
    Thinking,
    /// Do the prompts that need the strong model get it?
    StrongWeak,
    /// Are Chinese and English decided alike?
    ZhEn,
    /// Does writing it differently change the decision?
    Robustness,
    /// All of these
    All,
}

/// Which rows to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SplitArg {
    /// Rows that training never saw
    HeldOut,
    /// All rows
    All,
}

/// Check rules.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thinkgate check
  thinkgate check rules/
  thinkgate check --config thinkgate.toml")]
pub struct CheckArgs {
    /// A folder of rules; the configured or built-in ones where left out
    #[arg(value_name = "RULES_DIR")]
    pub rules: Option<PathBuf>,
    /// The configuration, which is checked too
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// List models.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thinkgate models
  thinkgate models --config thinkgate.toml --json
  thinkgate models --config thinkgate.toml --probe")]
pub struct ModelsArgs {
    /// The configuration; built-in where left out
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask each upstream with and without thinking, and say what has an effect; spends a few thousand tokens
    #[arg(long)]
    pub probe: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn commands_are_consistent_and_show_examples() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands_mut() {
            let help = sub.render_help().to_string();
            assert!(help.contains("Examples:"), "{} shows no example", sub.get_name());
        }
    }

    #[test]
    fn serve_is_what_happens_without_a_command() {
        let cli = Cli::parse_from(["thinkgate", "--listen", "127.0.0.1:1"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.listen.map(|address| address.port()), Some(1));
    }
}
