//! OpenAI's responses, stateless: items in, items out, nothing kept between two requests.

mod envelope;
mod input;
mod output;
mod read;
mod stream;
mod tools;

use serde_json::{Map, Value};

use super::client::{Form, Head, Writer};
use crate::backends::Whole;
pub(super) use read::read;
use tools::ToolNames;

/// What of the request shapes the answer.
struct Responses {
    /// Fields of the request that the response repeats.
    echo: Map<String, Value>,
    tools: ToolNames,
    /// Reasoning is to stand in the summary instead of the content.
    summary: bool,
    hides_reasoning: bool,
}

impl Form for Responses {
    fn hides_reasoning(&self) -> bool {
        self.hides_reasoning
    }

    fn whole(self: Box<Self>, head: Head, whole: Whole) -> Value {
        output::response(&self, &head, whole)
    }

    fn writer(self: Box<Self>, head: Head) -> Box<dyn Writer> {
        Box::new(stream::ResponseWriter::new(*self, head))
    }
}
