"""Answers the test sets with an exported model and writes what was measured.

    python evaluate.py ../pico-moe --eval ../eval --out runs/moe/results.json

Greedy decoding. The weights are the exported ones, so the figures are of what ships. Wrong replies are kept, to be read.
"""
import argparse
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import torch

from chat import CLOSING, Chat, prompt
from export import load
from model import generate
from questions import is_right

MOST = {True: 200, False: 48}   # new tokens, thinking and direct
BATCH = 192
BUDGETS = (0, 8, 16, 32, 48, 64, 96, 128, 200)
DEMONSTRATION = (
    "已知x²+2x+1=0，求x的值", "Given x²+2x+1=0, find x.", "How many r are in strawberry?", "strawberry里有几个r？", "草莓的英文单词里有几个r？",
    "How many r's are there in the word strawberry?", "37*48=?", "what's 37 times 48?", "日本的首都叫什么？", "What is the capital of France?",
    "9.11和9.9哪个大？", "你好", "Write me a poem about spring.")


def rendered(row, thinking, suffix="", system=None):
    *earlier, last = [message["content"] for message in row["messages"]]
    history = tuple(zip(earlier[::2], earlier[1::2]))
    return prompt(last + suffix, history, system, thinking)


class Bench:
    """A model with its chat format, answering many prompts at once."""

    def __init__(self, model, chat):
        self.model, self.chat = model, chat

    def complete(self, texts, most):
        """Token ids generated after each text."""
        prompts = self.chat.encode_all(texts)
        order, out = sorted(range(len(texts)), key=lambda at: len(prompts[at])), [None] * len(texts)
        for start in range(0, len(order), BATCH):
            part = order[start:start + BATCH]
            for at, ids in zip(part, generate(self.model, [prompts[at] for at in part], most, self.chat.end_of_turn)):
                out[at] = ids
        return out

    def answers(self, rows, thinking, **how):
        """(right, tokens, text) for every row."""
        done = self.complete([rendered(row, thinking, **how) for row in rows], MOST[thinking])
        return [(is_right(row["checker"], self.chat.answer(ids) if ids[-1] == self.chat.end_of_turn else None), len(ids), self.chat.decode(ids))
                for row, ids in zip(rows, done)]

    def with_budget(self, rows, budget):
        """Share right, share answered and mean tokens when thinking is cut at `budget` tokens and closed."""
        texts = [rendered(row, True) for row in rows]
        begun = self.complete(texts, budget + 2) if budget else [[] for _ in rows]
        closing, resumed = self.chat.encode(CLOSING), []
        for text, ids in zip(texts, begun):
            if self.chat.end_of_thought in ids:
                ids = ids[:ids.index(self.chat.end_of_thought) + 1]
                resumed.append(text + self.chat.decode(ids) + "\n\n")
            else:
                resumed.append(text + ("" if budget else "<think>\n") + self.chat.decode(ids) + CLOSING)
        done = self.complete(resumed, MOST[False])
        right = [is_right(row["checker"], self.chat.answer(ids)) for row, ids in zip(rows, done)]
        answered = [ids[-1] == self.chat.end_of_turn and len(ids) > 1 for ids in done]
        tokens = [len(self.chat.encode(text)) - len(self.chat.encode(first)) + len(ids) for first, text, ids in zip(texts, resumed, done)]
        return {"budget": budget, "right": mean(right), "answered": mean(answered), "tokens": mean(tokens)}


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def switch(bench, rows):
    """How often each way of asking for a mode is obeyed, and how often the answer is right then."""
    thought = lambda text: "<think>" in text and bool(text.split("</think>")[0].replace("<think>", "").strip())
    ways = {
        "template off": (dict(thinking=False), False), "template on": (dict(thinking=True), True),
        "/think": (dict(thinking=True, suffix=" /think"), True), "/no_think": (dict(thinking=True, suffix=" /no_think"), False),
        "/no_think in the system message": (dict(thinking=True, system="You are a helpful assistant. /no_think"), False),
    }
    out = {}
    for name, (how, want) in ways.items():
        texts = bench.answers(rows, **how)
        out[name] = {"obeyed": mean(("<think>" not in text if name == "template off" else thought(text) == want) for _, _, text in texts),
                     "right": mean(right for right, _, _ in texts)}
    for first, last, want in ((" /no_think", " /think", True), (" /think", " /no_think", False)):
        turned = [row | {"messages": [{"role": "user", "content": other["messages"][-1]["content"] + first},
                                      {"role": "assistant", "content": other["checker"]["answer"]}, *row["messages"]]}
                  for row, other in zip(rows, rows[1:]) if len(row["messages"]) == 1]
        texts = bench.answers(turned, True, suffix=last)
        out[f"{first.strip()}, then{last}"] = {"obeyed": mean(thought(text) == want for _, _, text in texts), "right": mean(r for r, _, _ in texts)}
    return out


@torch.no_grad()
def experts(bench, rows, texts):
    """For every layer: how often each kind of question woke each expert, and the information one gives of the other."""
    counts = [defaultdict(Counter) for _ in bench.model.model.layers]
    for row, text in zip(rows, texts):
        ids = torch.tensor([bench.chat.encode(rendered(row, True) + text)])
        model = bench.model
        cos, sin, mask = model.sight(torch.arange(ids.shape[1])[None], torch.zeros_like(ids))
        x = model.model.embed_tokens(ids)
        for layer, seen in zip(model.model.layers, counts):
            x = layer(x, cos, sin, mask)
            seen[row["kind"]].update(layer.mlp.chosen.reshape(-1).tolist())
    out = []
    for seen in counts:
        total = sum(sum(c.values()) for c in seen.values())
        by_expert = Counter()
        for c in seen.values():
            by_expert.update(c)
        information = sum(n / total * math.log2(n * total / (sum(c.values()) * by_expert[e])) for c in seen.values() for e, n in c.items())
        names = range(bench.model.shape.experts)
        out.append({"mutual_information_bits": information, "load": [by_expert[e] / total for e in names],
                    "by_kind": {kind: [c[e] / sum(c.values()) for e in names] for kind, c in seen.items()}})
    return out


def rounded(bits, group=32):
    """Symmetric rounding of matrices to `bits` in groups of 32, as the common integer formats do."""
    most = 2 ** (bits - 1) - 1

    def weights(_, tensor):
        if tensor.dim() < 2:
            return tensor
        x = tensor.reshape(-1, group)
        scale = (x.abs().amax(1, keepdim=True) / most).clamp(min=1e-12)
        return ((x / scale).round() * scale).reshape(tensor.shape)
    return weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--brief", action="store_true", help="the set `single` alone, for comparisons")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chat = Chat(arguments.model / "tokenizer.json")
    bench = Bench(load(arguments.model), chat)
    read = lambda name: [json.loads(line) for line in open(arguments.eval / f"{name}.jsonl", encoding="utf-8")]
    size, active = bench.model.parameters_total_active()
    results = {"parameters": size, "active": active, "sets": {}}
    for name in ("single",) if arguments.brief else ("single", "fresh", "two-turn", "beyond", "free"):
        rows = read(name)
        entries = [{k: row[k] for k in ("id", "kind", "level", "language", "wording")} | {"key": row.get("key", row["id"])} for row in rows]
        for mode, thinking in (("think", True), ("direct", False)):
            answers = bench.answers(rows, thinking)
            for entry, (right, tokens, text) in zip(entries, answers):
                entry[mode] = {"right": right, "tokens": tokens} | ({} if right else {"text": text})
            print(f"{name} {mode}: {mean(a[0] for a in answers):.4f} right, {mean(a[1] for a in answers):.1f} tokens", flush=True)
            if name == "single" and mode == "think" and bench.model.shape.experts:
                results["experts"] = experts(bench, rows[::3], [text for _, _, text in answers[::3]])
        results["sets"][name] = entries
    if not arguments.brief:
        some = read("single")[::5]
        hard = [row for row in read("fresh") if row["level"] > 1][::3]
        results["switch"] = switch(bench, some)
        results["budgets"] = [bench.with_budget(hard, budget) for budget in BUDGETS]
        results["rounding"] = {}
        for name, bits in (("int8", 8), ("int4", 4)):
            narrow = Bench(load(arguments.model, rounded(bits)), chat)
            results["rounding"][name] = {mode: mean(a[0] for a in narrow.answers(some, thinking)) for mode, thinking in (("think", True), ("direct", False))}
        results["rounding"]["f16"] = {mode: mean(a[0] for a in bench.answers(some, thinking)) for mode, thinking in (("think", True), ("direct", False))}
    rows = [{"messages": [{"role": "user", "content": q}], "checker": {"type": "exact", "answer": ""}} for q in DEMONSTRATION]
    results["demonstration"] = [{"question": row["messages"][0]["content"], "think": a[2], "direct": b[2]}
                                for row, a, b in zip(rows, bench.answers(rows, True), bench.answers(rows, False))]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    part = arguments.out.with_suffix(".part")
    part.write_text(json.dumps(results, ensure_ascii=False) + "\n", encoding="utf-8")
    part.rename(arguments.out)


if __name__ == "__main__":
    main()
