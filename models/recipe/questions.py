"""Writes the test sets, `models/eval/*.jsonl`: messages, what a right answer is, and where the question comes from.

    python questions.py ../eval

- `single`: every cell in both languages, held-out values, half of the wordings never trained on.
- `fresh`: the same from another seed, to score what was fitted on `single`; no question of `single` where there are others.
- `two-turn`: questions of `single` after an unrelated first turn.
- `beyond`: longer numbers and words than any trained on.
- `free` is written by hand and read as it is.
"""
import json
import random
import re
import sys
from pathlib import Path

import tasks

PER_CELL = 32  # per cell and language in `single` and `fresh`, half of them in unseen wordings


def row(name, item, wording):
    history = [{"role": role, "content": text} for turn in item.history for role, text in zip(("user", "assistant"), turn)]
    return {"id": name, "kind": item.kind, "level": item.level, "language": item.language, "wording": wording,
            "messages": [*history, {"role": "user", "content": item.question}],
            "checker": {"type": item.checker, "answer": item.answer}, "key": item.key}


def is_right(checker: dict, answer: str | None) -> bool:
    """Whether an answer satisfies a row's checker: `exact` text, the same `json`, the same set of `roots`."""
    if answer is None:
        return False
    expected = checker["answer"]
    match checker["type"]:
        case "exact":
            return answer.strip() == expected
        case "roots":
            return re.fullmatch(r"x=-?\d+(\s*(or|或)\s*x=-?\d+)?", answer.strip()) is not None and \
                set(re.findall(r"-?\d+", answer)) == set(re.findall(r"-?\d+", expected))
        case "json":
            try:
                return json.loads(answer) == json.loads(expected)
            except ValueError:
                return False
        case other:
            raise ValueError(f"unknown checker {other!r}")


def cells_set(name, seed, cells, per_cell, avoid=()):
    """Distinct questions of every cell, as far as the cell has them; half in unseen wordings."""
    r, avoid = random.Random(seed), {row["messages"][-1]["content"] for row in avoid}
    for kind, level in cells:
        for language in ("en", "zh"):
            seen_before = set()
            for at in range(per_cell):
                unseen = at % 2 == 1
                for _ in range(30):
                    item = tasks.draw(r, kind, level, language, test=True, unseen=unseen)
                    if item.question not in seen_before | avoid:
                        break
                seen_before.add(item.question)
                yield row(f"{name}-{kind}-{level}-{language}-{at:02}", item, "unseen" if unseen else "seen")


def two_turn(rows, seed, every):
    r = random.Random(seed)
    for source in rows[::every]:
        if len(source["messages"]) > 1:
            continue
        while (earlier := tasks.draw(r, *r.choice(tasks.CELLS), source["language"])).history:
            pass
        history = [{"role": "user", "content": earlier.question}, {"role": "assistant", "content": earlier.answer}]
        yield source | {"id": "two-turn" + source["id"].removeprefix("single"), "messages": history + source["messages"]}


def all_sets():
    """The generated sets by name."""
    single = list(cells_set("single", 101, tasks.CELLS, PER_CELL))
    return {"single": single, "fresh": list(cells_set("fresh", 202, tasks.CELLS, PER_CELL, avoid=single)),
            "two-turn": list(two_turn(single, 303, 3)), "beyond": list(cells_set("beyond", 404, tasks.BEYOND, 16))}


def main(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in all_sets().items():
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as out:
            for entry in rows:
                print(json.dumps(entry, ensure_ascii=False), file=out)
        print(f"{name}: {len(rows)} questions, {len({json.dumps(r['messages']) for r in rows})} distinct")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
