"""What each training stage shows the model, staged as Qwen3's own training is.

Pre-training: 1 basics in short plain texts, 2 knowledge and STEM (question, working, answer as plain text), 3 longer
context, with the rotary base raised. Post-training: 4 long-CoT cold start, 5 reinforcement learning (`rl.py`, apart), 6
fusion of both modes and both switches, 7 general polish.
"""
import random
from collections import defaultdict
from dataclasses import dataclass

import chains
import tasks
from chat import CLOSING, NO_THOUGHT, Chat, prompt, reply
from wordings import TABLES

SYSTEM = {"en": ("You are a helpful assistant.", "You are Pico."), "zh": ("你是一个有用的助手。", "你是Pico。")}


@dataclass(frozen=True)
class Stage:
    name: str
    tokens: float       # where it ends, in tokens seen; a share of the whole run where it is at most 1
    rope_theta: float


STAGES = (
    Stage("1 basics", 0.4e6, 10_000.0),
    Stage("2 knowledge and STEM", 1.4e6, 10_000.0),
    Stage("3 longer context", 1.7e6, 100_000.0),
    Stage("4 long-CoT cold start", 3.2e6, 100_000.0),
    Stage("6 thinking-mode fusion", 0.9, 100_000.0),
    Stage("7 general polish", 1.0, 100_000.0),
)


def stage_at(seen: int, total: int) -> Stage:
    """The stage after `seen` of `total` tokens."""
    for stage in STAGES:
        if seen < (stage.tokens if stage.tokens > 1 else stage.tokens * total):
            return stage
    return STAGES[-1]


@dataclass(frozen=True)
class Branch:
    """One continuation of a prompt: tokens that are read only, then tokens that are learned."""

    read: list[int]
    written: list[int]
    cell: tuple | None = None   # of a thinking reply


@dataclass(frozen=True)
class Sample:
    """A prompt and one or more replies to it. Replies do not see each other, so a prompt read once serves both modes."""

    prompt: list[int]
    branches: tuple[Branch, ...]

    def __len__(self):
        return len(self.prompt) + sum(len(b.read) + len(b.written) for b in self.branches)


class Source:
    """Draws training samples."""

    # Direct answers to hard questions cannot be learned by models of this size; some are shown, for the form.
    DIRECT_BY_LEVEL = {1: 1.5, 2: 1.0, 3: 0.4}
    BESIDE_THOUGHT = {1: 1.0, 2: 0.8, 3: 0.4}  # share of thoughts that a direct answer to the same prompt stands beside

    def __init__(self, chat: Chat, seed: int):
        self.chat, self.seed = chat, seed
        self.hardness = {cell: 1.0 for cell in tasks.CELLS}  # mean loss of a thinking reply, in nats, smoothed

    def learn(self, losses):
        """Takes in the summed losses of thinking replies, so that cells still hard are drawn more often."""
        by_cell = defaultdict(list)
        for cell, loss in losses:
            by_cell[cell].append(loss)
        for cell, values in by_cell.items():
            self.hardness[cell] += min(1.0, 0.02 * len(values)) * (sum(values) / len(values) - self.hardness[cell])

    def pool(self, number: int, stage: Stage, size: int):
        """The samples of one pool; the same number, stage and hardness always give the same pool."""
        r = random.Random(f"{self.seed} {number}")
        think = [min(2.5, max(0.35, self.hardness[cell])) * (1 + 0.25 * (cell[1] - 1)) for cell in tasks.CELLS]
        direct = [self.DIRECT_BY_LEVEL[cell[1]] * (0.6 if cell[0] in tasks.EASY else 1.0) for cell in tasks.CELLS]
        draw = lambda weights: tasks.draw(r, *r.choices(tasks.CELLS, weights)[0], r.choice(("en", "zh")))
        return [self._sample(r, stage, draw, think, direct) for _ in range(size)]

    def _sample(self, r, stage, draw, think, direct):
        if stage.name.startswith("1"):
            return self._plain("", "\n".join(basic(r) for _ in range(r.randint(3, 6))))
        if stage.name.startswith("2"):
            if r.random() < 0.2:
                return self._plain("", "\n".join(basic(r) for _ in range(4)))
            item = draw(think)
            return self._plain(item.question + "\n", (item.chain + "\n" if r.random() < 0.7 else "") + item.answer)
        if stage.name.startswith("3"):
            items = [draw(think) for _ in range(r.randint(4, 10))]
            return self._plain("", "\n\n".join(f"{i.question}\n{i.chain}\n{i.answer}" for i in items))
        if stage.name.startswith("4"):
            return self._turn(r, draw(think), "think", draw(direct))
        easy = stage.name.startswith("7") and r.random() < 0.25
        mode = r.choices(("both", "think", "soft", "cut"), (0.66, 0.08, 0.18, 0.08))[0]
        if easy:
            item = tasks.draw(r, r.choice(("format", "outside", "greet", "follow")), 1, r.choice(("en", "zh")))
        else:
            item = draw(direct if mode == "soft" or mode == "both" and r.random() < 0.45 else think)
        return self._turn(r, item, mode, draw(direct))

    def _plain(self, read, written):
        head, tail = self.chat.encode_all([read, written])
        head, tail = head or tail[:1], (tail if head else tail[1:]) + [self.chat.end_of_text]
        return Sample(head, (Branch([], tail),))

    def _turn(self, r, item, mode, earlier):
        """A conversation that ends in the item's answer: thought through, direct, both, or with the thought cut short."""
        question, history, system = item.question, item.history, None
        if not history and not earlier.history and r.random() < 0.27:
            history = ((earlier.question, earlier.answer),)
            if r.random() < 0.3:  # an earlier wish, which the latest one overrules
                history = ((earlier.question + r.choice((" /think", " /no_think")), earlier.answer),)
        said = any("/no_think" in asked for asked, _ in history)
        if r.random() < 0.08:
            system = r.choice(SYSTEM[item.language])
        if mode in ("soft", "think") and r.random() < 0.15:  # a lasting wish, obeyed or overruled
            system, said = r.choice(SYSTEM[item.language]) + " /no_think", True
        if mode == "soft":
            if not (system or "").endswith("/no_think") or any("/think" in asked for asked, _ in history):
                question = f"/no_think {question}" if r.random() < 0.1 else f"{question} /no_think"
        elif said or mode == "think":
            question = f"/think {question}" if r.random() < 0.1 else f"{question} /think"
        before, thought, answer, empty = self.chat.encode_all(
            [prompt(question, history, system), f"<think>\n{item.chain}", f"{item.answer}<|im_end|>", NO_THOUGHT])
        whole = Branch([], self.chat.encode(reply(item.chain, item.answer)), (item.kind, item.level))
        if mode == "soft":
            return Sample(before, (Branch([], empty + answer),))
        if mode == "cut":
            kept = thought[:r.randint(2, len(thought))]
            return Sample(before + kept + self.chat.encode(CLOSING), (Branch([], answer),))
        both = mode == "both" and r.random() < self.BESIDE_THOUGHT[item.level]
        return Sample(before, (whole, Branch(empty, answer)) if both else (whole,))


def basic(r: random.Random) -> str:
    """One line of stage 1: a spelling, a small sum, a fact. None holds a value that is kept for testing."""
    while True:
        roll, language = r.random(), r.choice(("en", "zh"))
        if roll < 0.3:
            word = tasks.some_word(r, r.choice((1, 1, 2)))
            if any(tasks.held_out(kind, word) for kind in ("count", "letter", "reverse")):
                continue
            return r.choice((f"{word}: {' '.join(word)}", f"{chains.numbered(word)}: {chains.numbered_back(word)}", f"{word}: {word[::-1]}"))
        if roll < 0.65:
            low, high = sorted(r.randint(0, 10 ** r.choice((1, 1, 2)) - 1) for _ in range(2))
            a, b = low % 10, high % 9 + 1
            kind, key, line = r.choice((
                ("add", f"{low}+{high}", r.choice((f"{low}+{high}={low + high}", f"{high}+{low}={low + high}"))),
                ("sub", f"{high}-{low}", f"{high}-{low}={high - low}"),
                ("mul", f"{min(a, b)}*{max(a, b)}", r.choice((f"{a}*{b}={a * b}", f"{b}*{a}={a * b}", f"{a * b}/{b}={a}")))))
            if tasks.held_out(kind, key):
                continue
            return line
        if roll < 0.93:
            return tasks.draw(r, r.choice(("capital", "translate", "opposite", "fact")), 1, language).chain
        start, days = r.randrange(7), tasks.DAYS[language]
        return " ".join(f"{at} {days[(start + at) % 7]}" for at in range(r.randint(2, 7)))
