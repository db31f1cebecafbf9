//! The names of the dialects.

/// How one backend family spells the thinking mode. What each can say is in `models/capabilities/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the name of a product")]
pub enum Dialect {
    Vllm,
    Sglang,
    LlamaCpp,
    /// Ollama's `/v1`.
    Ollama,
    /// Ollama's own `/api/chat`.
    OllamaNative,
    LmStudio,
    MistralRs,
    TensorrtLlm,
    Lmdeploy,
    MlxLm,
    Dashscope,
    Openai,
    Azure,
    Anthropic,
    Gemini,
    Deepseek,
    Glm,
    Kimi,
    Doubao,
    Minimax,
    Hunyuan,
    Xai,
    Openrouter,
    Groq,
    Together,
    Fireworks,
    Siliconflow,
    Bedrock,
    /// Any server that speaks chat completions.
    Generic,
}

impl Dialect {
    /// Every dialect, in the order of the documentation.
    pub const ALL: &[Dialect] = &[
        Dialect::Vllm,
        Dialect::Sglang,
        Dialect::LlamaCpp,
        Dialect::Ollama,
        Dialect::OllamaNative,
        Dialect::LmStudio,
        Dialect::MistralRs,
        Dialect::TensorrtLlm,
        Dialect::Lmdeploy,
        Dialect::MlxLm,
        Dialect::Dashscope,
        Dialect::Openai,
        Dialect::Azure,
        Dialect::Anthropic,
        Dialect::Gemini,
        Dialect::Deepseek,
        Dialect::Glm,
        Dialect::Kimi,
        Dialect::Doubao,
        Dialect::Minimax,
        Dialect::Hunyuan,
        Dialect::Xai,
        Dialect::Openrouter,
        Dialect::Groq,
        Dialect::Together,
        Dialect::Fireworks,
        Dialect::Siliconflow,
        Dialect::Bedrock,
        Dialect::Generic,
    ];

    /// Its name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Vllm => "vllm",
            Dialect::Sglang => "sglang",
            Dialect::LlamaCpp => "llama-cpp",
            Dialect::Ollama => "ollama",
            Dialect::OllamaNative => "ollama-native",
            Dialect::LmStudio => "lm-studio",
            Dialect::MistralRs => "mistral-rs",
            Dialect::TensorrtLlm => "tensorrt-llm",
            Dialect::Lmdeploy => "lmdeploy",
            Dialect::MlxLm => "mlx-lm",
            Dialect::Dashscope => "dashscope",
            Dialect::Openai => "openai",
            Dialect::Azure => "azure",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
            Dialect::Deepseek => "deepseek",
            Dialect::Glm => "glm",
            Dialect::Kimi => "kimi",
            Dialect::Doubao => "doubao",
            Dialect::Minimax => "minimax",
            Dialect::Hunyuan => "hunyuan",
            Dialect::Xai => "xai",
            Dialect::Openrouter => "openrouter",
            Dialect::Groq => "groq",
            Dialect::Together => "together",
            Dialect::Fireworks => "fireworks",
            Dialect::Siliconflow => "siliconflow",
            Dialect::Bedrock => "bedrock",
            Dialect::Generic => "generic",
        }
    }

    /// How it frames a conversation, unless the configuration says otherwise.
    #[must_use]
    pub fn wire(self) -> Wire {
        match self {
            Dialect::Anthropic => Wire::Anthropic,
            Dialect::Gemini => Wire::Gemini,
            Dialect::OllamaNative => Wire::OllamaNative,
            Dialect::Bedrock => Wire::Bedrock,
            _ => Wire::Chat,
        }
    }
}

/// How a conversation is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Chat completions.
    Chat,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's `generateContent`.
    Gemini,
    /// Ollama's `/api/chat`.
    OllamaNative,
    /// Bedrock's Converse.
    Bedrock,
}

impl Wire {
    /// Its name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Wire::Chat => "chat",
            Wire::Anthropic => "anthropic",
            Wire::Gemini => "gemini",
            Wire::OllamaNative => "ollama-native",
            Wire::Bedrock => "bedrock",
        }
    }
}
