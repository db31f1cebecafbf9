"""Trains the byte-level BPE tokenizer on the generator's own text and writes `tokenizer.json` with Qwen's markers.

Digits are single tokens, so that numbers have places; merges are short, so that words can be spelled.
"""
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import tasks
from chat import CLOSING, MARKERS
from wordings import TABLES, TEMPLATES

VOCABULARY = 1536
# Qwen's pre-tokenizer: words with their leading space, digits one by one, punctuation, white space.
PIECES = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def corpus():
    r = random.Random(7)
    for _ in range(80_000):
        item = tasks.draw(r, *r.choice(tasks.CELLS), r.choice(("en", "zh")))
        yield from (item.question, item.chain, item.answer)
    for _ in range(400):
        yield from (CLOSING, " /think", " /no_think", "system\n", "user\n", "assistant\n", "You are a helpful assistant.", "你是一个有用的助手。")
    for _ in range(10):
        for word in tasks.WORDS:
            yield from (word, " " + word)
        for languages in TEMPLATES.values():
            for split in languages.values():
                yield from split["seen"]
        for table in ("capital", "word", "opposite", "item"):
            for entry in TABLES[table]:
                yield from (" ".join(v) if isinstance(v, list) else v for v in entry.values())


def train(path: Path):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(PIECES, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKERS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        max_token_length=10, min_frequency=10))
    # The turn markers never appear in text; the think tags are ordinary tokens that clients may see.
    tokenizer.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in MARKERS[:3]])
    tokenizer.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in MARKERS[3:]])
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise SystemExit(f"{tokenizer.get_vocab_size()} tokens instead of {VOCABULARY}: the corpus has too few merges")
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
