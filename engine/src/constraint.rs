//! What may the answer look like?
//!
//! An answer can be held to a JSON schema, a grammar, or a tool call: before each token is drawn, those that could not
//! continue it are taken out. Thinking stays free. A schema that shaped the reasoning too would take away what
//! thinking is for, so the constraint begins with the answer.
//!
//! The library compiles a schema to a parser and finds the tokens that may follow by walking the vocabulary's trie.
//! It limits the work of both; what exceeds the limits is an error of the request.

use std::sync::{Arc, OnceLock};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{
    InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::request::{AnswerFormat, EngineError};
use crate::tokenizer::Tokenizer;

/// Compiles formats for one vocabulary. The trie is built with the first of them.
pub(crate) struct Constraints {
    tokenizer: Arc<Tokenizer>,
    end_tokens: Arc<[u32]>,
    factory: OnceLock<Result<ParserFactory, String>>,
}

/// What one answer is held to, and how far it has come.
pub(crate) struct Constraint(Matcher);

impl Constraints {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, end_tokens: Arc<[u32]>) -> Constraints {
        Constraints { tokenizer, end_tokens, factory: OnceLock::new() }
    }

    /// `None` where everything is allowed; an error says what is wrong with the format.
    pub(crate) fn compile(&self, format: &AnswerFormat) -> Result<Option<Constraint>, String> {
        let grammar = match format {
            AnswerFormat::Free => return Ok(None),
            AnswerFormat::Json(schema) => TopLevelGrammar::from_json_schema(with_short_gaps(schema)),
            AnswerFormat::Grammar(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
            AnswerFormat::ToolCall(tools) => TopLevelGrammar::from_lark(tool_call(tools)?),
        };
        let factory = self.factory.get_or_init(|| factory(&self.tokenizer, &self.end_tokens));
        let matcher = Matcher::new(factory.as_ref().map_err(Clone::clone)?.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(error),
            None => Ok(Some(Constraint(matcher))),
        }
    }
}

impl Constraint {
    /// The tokens that may come next.
    pub(crate) fn allowed(&mut self) -> Result<SimpleVob, EngineError> {
        let allowed = self.0.compute_mask().map_err(|error| EngineError::Constraint(error.to_string()))?;
        if allowed.is_zero() {
            return Err(EngineError::Constraint("no token can continue the answer".to_owned()));
        }
        Ok(allowed)
    }

    /// Takes a token that was allowed. True if nothing may follow it.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, EngineError> {
        match self.0.try_consume_tokens(&[token]) {
            Ok(1) => Ok(self.0.is_stopped()),
            Ok(_) => Err(EngineError::Constraint(format!("token {token} was not allowed"))),
            Err(error) => Err(EngineError::Constraint(error.to_string())),
        }
    }
}

/// A vocabulary as the library wants it. It may ask for the tokens of a text, to force what can only go on one way; we
/// force nothing, since tokens that the model did not choose make it write worse.
struct Vocabulary {
    trie: TokTrie,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(text)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

fn factory(tokenizer: &Tokenizer, end_tokens: &[u32]) -> Result<ParserFactory, String> {
    let end_tokens: Vec<u32> =
        end_tokens.iter().copied().filter(|token| (*token as usize) < tokenizer.size()).collect();
    let Some(end) = end_tokens.first() else {
        return Err("the model names no token that ends a turn".to_owned());
    };
    let words: Vec<Vec<u8>> = (0..tokenizer.size() as u32).map(|id| word(tokenizer, id)).collect();
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, *end), &words).with_eos_tokens(&end_tokens);
    let environment: TokEnv = Arc::new(Vocabulary { trie });
    let slices = llguidance::earley::SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
        .map_err(|error| error.to_string())?;
    factory.quiet();
    factory.limits_mut().verbose_errors = false; // errors go to clients, who know what they sent
    Ok(factory)
}

/// A token's bytes; control markers, which no text contains, are told apart by the library's sign for them.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id);
    if !bytes.is_empty() {
        return bytes;
    }
    [&[TokTrie::SPECIAL_TOKEN_MARKER], tokenizer.token_text(id).as_bytes()].concat()
}

/// Between two tokens of JSON: a line break and an indent, no more. Small models that may write white space without end
/// do.
const GAP: &str = r"\n?[ \t]{0,20}";

fn with_short_gaps(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(keywords) = &mut schema {
        keywords.insert("x-guidance".to_owned(), json!({"whitespace_pattern": GAP}));
    }
    schema
}

/// A grammar for one call of one of these tools, in Qwen's format.
fn tool_call(tools: &Value) -> Result<String, String> {
    let calls = tools.as_array().map_or(&[][..], Vec::as_slice).iter().map(|tool| {
        let function = tool.get("function").unwrap_or(tool);
        let name = function.get("name").and_then(Value::as_str).ok_or("a tool without a name")?;
        let arguments = function.get("parameters").filter(|schema| schema.is_object());
        Ok(with_short_gaps(&json!({
            "type": "object",
            "properties": {
                "name": {"const": name},
                "arguments": arguments.cloned().unwrap_or_else(|| json!({"type": "object"}))
            },
            "required": ["name", "arguments"],
            "additionalProperties": false
        })))
    });
    let calls = calls.collect::<Result<Vec<Value>, &str>>()?;
    if calls.is_empty() {
        return Err("no tool to call".to_owned());
    }
    // Each tool's schema stands by itself, so that its `#/$defs` are found.
    let names: Vec<String> = (0..calls.len()).map(|number| format!("call_{number}")).collect();
    let rules = names.iter().zip(&calls).map(|(name, schema)| format!("{name}: %json {schema}\n"));
    let rules: String = rules.collect();
    let any = names.join(" | ");
    Ok(format!("start: \"<tool_call>\\n\" call \"\\n</tool_call>\"\ncall: {any}\n{rules}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::pico;

    fn constraints() -> Constraints {
        let tokenizer = Arc::new(pico());
        let end = tokenizer.marker_id("<|im_end|>").unwrap();
        Constraints::new(tokenizer, Arc::new([end]))
    }

    /// How much of a text the format admits, and whether it may end there.
    fn admits(format: &AnswerFormat, text: &str) -> (usize, bool) {
        let constraints = constraints();
        let mut constraint = constraints.compile(format).unwrap().unwrap();
        let mut done = 0;
        for token in constraints.tokenizer.encode_text(text).unwrap() {
            if !constraint.allowed().is_ok_and(|allowed| allowed.is_allowed(token)) {
                return (done, false);
            }
            done += constraints.tokenizer.token_bytes(token).len();
            if constraint.accept(token).unwrap() {
                return (done, true);
            }
        }
        let end = constraints.end_tokens[0];
        (done, constraint.allowed().unwrap().is_allowed(end))
    }

    fn point() -> AnswerFormat {
        AnswerFormat::Json(json!({
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/number"}, "name": {"type": "string"}},
            "required": ["x"], "additionalProperties": false,
            "$defs": {"number": {"type": "integer", "minimum": 0}}
        }))
    }

    #[test]
    fn a_schema_admits_what_fits_and_nothing_else() {
        let whole = |text: &str| (text.len(), true);
        for text in [r#"{"x": 12}"#, r#"{"x":0,"name":"点"}"#, "{\n  \"x\": 5,\n  \"name\": \"a\"\n}"] {
            assert_eq!(admits(&point(), text), whole(text));
        }
        for text in
            [r#"{"name": "a"}"#, r#"{"x": -1}"#, r#"{"x": 1, "y": 2}"#, "{\n\n\"x\": 1}", "x=1", r#"[1]"#]
        {
            let (done, ended) = admits(&point(), text);
            assert!(done < text.len() && !ended, "{text}: {done}");
        }
        assert_eq!(admits(&point(), r#"{"x": 12"#), (8, false), "not closed yet");
    }

    #[test]
    fn a_grammar_and_a_tool_call_admit_their_forms() {
        let yes = AnswerFormat::Grammar(r#"start: "yes" | "no""#.to_owned());
        assert_eq!(admits(&yes, "yes"), (3, true));
        assert!(!admits(&yes, "maybe").1);
        let tools = json!([
            {"type": "function", "function": {"name": "weather", "parameters": {
                "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
            {"type": "function", "function": {"name": "now"}}
        ]);
        let call = AnswerFormat::ToolCall(tools);
        for text in [
            "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"北京\"}}\n</tool_call>",
            "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
        ] {
            assert_eq!(admits(&call, text), (text.len(), true), "{text}");
        }
        assert!(!admits(&call, "<tool_call>\n{\"name\": \"rain\"").1);
        assert!(!admits(&call, "It is 12.").1);
    }

    #[test]
    fn what_cannot_be_compiled_is_refused_with_a_reason() {
        let refused = |format: AnswerFormat| constraints().compile(&format).err().unwrap();
        assert!(refused(AnswerFormat::Json(json!({"type": "bird"}))).contains("bird"));
        assert!(!refused(AnswerFormat::Json(json!({"$ref": "http://example.com/x"}))).is_empty());
        assert!(!refused(AnswerFormat::Grammar("start: (".to_owned())).is_empty());
        assert!(!refused(AnswerFormat::ToolCall(json!([]))).is_empty());
        // A schema larger than the library's limit, which guards memory and time.
        let wide: Vec<Value> = (0..200_000).map(Value::from).collect();
        assert!(!refused(AnswerFormat::Json(json!({"enum": wide}))).is_empty());
    }

    #[test]
    fn control_markers_are_never_part_of_an_answer() {
        let constraints = constraints();
        let mut constraint =
            constraints.compile(&AnswerFormat::Json(json!({"type": "string"}))).unwrap().unwrap();
        let quote = constraints.tokenizer.encode_text("\"").unwrap()[0];
        constraint.accept(quote).unwrap();
        let allowed = constraint.allowed().unwrap();
        for marker in ["<|im_start|>", "<|im_end|>"] {
            assert!(!allowed.is_allowed(constraints.tokenizer.marker_id(marker).unwrap()), "{marker}");
        }
    }
}
