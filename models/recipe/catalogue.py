"""Puts the embedded models' shapes and measured skill into the catalogue that the router's policy reads.

    python catalogue.py runs ../catalogue.toml

Skill is taken on `single` alone, so that routing can be scored on `fresh`.
"""
import json
import re
import sys
from pathlib import Path

from train import SHAPES


def main(runs: Path, catalogue: Path):
    text = catalogue.read_text("utf-8")
    for name, shape in SHAPES.items():
        head = f'name = "pico-{name}"\n'
        if head not in text:
            continue
        results = json.loads((runs / name / "results.json").read_text("utf-8"))
        single = results["sets"]["single"]
        skill = {mode: sum(row[mode]["right"] for row in single) / len(single) for mode in ("direct", "think")}
        before, entry = text.split(head)
        entry, *after = entry.split("[[model]]")
        for key, value in {
            "total_params": f"{results['parameters']:_}", "active_params": f"{results['active']:_}", "layers": shape.layers, "heads": shape.heads,
            "kv_heads": shape.kv_heads, "context_length": shape.context,
            "skill": f"{{ direct = {skill['direct']:.3f}, thinking = {skill['think']:.3f}, narrow = true }}",
            **({"experts": shape.experts, "experts_per_token": shape.experts_per_token} if shape.experts else {}),
        }.items():
            entry = re.sub(rf"^{key} = .*$", f"{key} = {value}", entry, flags=re.M)
        text = before + head + "[[model]]".join([entry, *after])
    catalogue.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
