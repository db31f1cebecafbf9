"""How conversations become tokens: Qwen3's chat format with its two thinking switches and its closing sentence."""
from tokenizers import Tokenizer

MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
# What ends a thought whose budget is spent: the sentence of the Qwen3 Technical Report (arXiv 2505.09388, section 4.3), laid
# out as Qwen's own client code and Thinkgate's engine lay it out.
CLOSING = "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n</think>\n\n"
NO_THOUGHT = "<think>\n\n</think>\n\n"


class Chat:
    """A tokenizer with the chat format around it."""

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path))
        self.end_of_text, _, self.end_of_turn, _, self.end_of_thought = (self.tokenizer.token_to_id(m) for m in MARKERS)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def answer(self, ids: list[int]) -> str | None:
        """What follows the thought; None where thinking never ended."""
        text = self.decode(ids).split("<|im_end|>")[0]
        if "<think>" in text and "</think>" not in text:
            return None
        return text.split("</think>")[-1].strip()


def prompt(question: str, history=(), system: str | None = None, thinking: bool = True) -> str:
    """The text before the answer; `thinking=False` is the hard switch: an empty thought already written."""
    turns = [("system", system)] if system else []
    for asked, answered in history:
        turns += [("user", asked), ("assistant", answered)]
    turns.append(("user", question))
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return text + "<|im_start|>assistant\n" + ("" if thinking else NO_THOUGHT)


def reply(chain: str, answer: str) -> str:
    """A reply with its thought; an empty chain gives the empty thought of the soft switch."""
    return f"<think>\n{chain}\n</think>\n\n{answer}<|im_end|>"
