"""Writes the model card, `models/README.md`, and its pictures from what `evaluate.py` and the training logs say.

    python card.py runs ..
"""
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

import tasks
from evaluate import MOST, mean
from questions import PER_CELL
from routing import MIXES, joined, room, score, weights
from train import SHAPES

SHIPPED = ("pico-dense", "pico-moe")
MODES = ("think", "direct")
plt.rcParams.update({"svg.hashsalt": "pico", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                     "font.sans-serif": ["DejaVu Sans"]})


def percent(value):
    return f"{100 * value:.1f}"


def table(head, rows):
    line = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def right(entries, mode, **wanted):
    return mean(e[mode]["right"] for e in entries if all(e[key] == value for key, value in wanted.items()))


def both(entries, **wanted):
    return " / ".join(percent(right(entries, mode, **wanted)) for mode in MODES)


def overall(results):
    rows = []
    for label, pick in (
        ("all", {}), ("level 1", {"level": 1}), ("level 2", {"level": 2}), ("level 3", {"level": 3}), ("English", {"language": "en"}),
        ("Chinese", {"language": "zh"}), ("wordings trained on", {"wording": "seen"}), ("wordings never seen", {"wording": "unseen"}),
    ):
        rows.append([label, *(both(results[m]["sets"]["single"] + results[m]["sets"]["fresh"], **pick) for m in SHIPPED)])
    for name, label in (("two-turn", "after an unrelated first turn"), ("free", "free questions, written apart"), ("beyond", "beyond trained lengths")):
        rows.append([label, *(both(results[m]["sets"][name]) for m in SHIPPED)])
    single = {m: {e["id"].removeprefix("single"): e for e in results[m]["sets"]["single"]} for m in SHIPPED}
    alone = lambda m: [single[m][e["id"].removeprefix("two-turn")] for e in results[m]["sets"]["two-turn"]]
    rows.insert(8, ["the same questions as single turns as in the next row", *(both(alone(m)) for m in SHIPPED)])
    rows.append(["mean generated tokens", *(" / ".join(f"{mean(e[mode]['tokens'] for e in results[m]['sets']['single']):.1f}" for mode in MODES) for m in SHIPPED)])
    return table(["% right, thinking / direct", *SHIPPED], rows)


def by_cell(results):
    rows = []
    sets = {m: results[m]["sets"]["single"] + results[m]["sets"]["fresh"] for m in SHIPPED}
    for cell in dict.fromkeys((e["kind"], e["level"]) for e in sets[SHIPPED[0]]):
        distinct = len({e["key"] for e in sets[SHIPPED[0]] if (e["kind"], e["level"]) == cell})
        cells = []
        for m in SHIPPED:
            entries = [e for e in sets[m] if (e["kind"], e["level"]) == cell]
            cells += [both(entries), " / ".join(both(entries, language=language) for language in ("en", "zh")),
                      " / ".join(f"{mean(e[mode]['tokens'] for e in entries):.0f}" for mode in MODES)]
        recall = tasks.recall(*cell) or distinct < 30
        rows.append([*cell, f"{distinct}{' (recall)' if recall else ''}", *cells])
    head = ["kind", "level", "distinct values"]
    for m in SHIPPED:
        head += [m, "en / zh, each thinking / direct", "tokens"]
    return table(head, rows)


def routing(results):
    active = {m: results[m]["active"] for m in SHIPPED}
    fitted, fresh = (joined({m: results[m] for m in SHIPPED}, name) for name in ("single", "fresh"))
    shown = lambda point: "none" if point is None else f"{percent(point[0])} at {100 * point[1]:.0f} %"
    rows = []
    for mix_name, mix in MIXES.items():
        for label, arms, always in (
            *((m, [(m, mode) for mode in MODES], (m, "think")) for m in SHIPPED),
            ("both models", [(m, mode) for m in SHIPPED for mode in MODES], ("pico-moe", "think")),
        ):
            r = room(fitted, fresh, arms, always, mix, active)
            rows.append([mix_name, label, percent(r["always"]), shown(r["best"]), *map(shown, r["within"]), shown(r["oracle"])])
    return table(["workload", "arms of", "always think", "best", "fitted at equal", "at −1 point", "at −2 points", "oracle per question"], rows)


def routed(results, decisions):
    """What the router itself reaches on `fresh`: every question answered by the arm it chose."""
    active = {m: results[m]["active"] for m in SHIPPED}
    fresh = joined({m: results[m] for m in SHIPPED}, "fresh")
    chosen = {row["id"]: (row["model"], "think" if row["thinking"]["mode"] == "on" else "direct") for row in decisions}
    least = min(row["thinking"].get("budget_tokens") or MOST[True] for row in decisions)
    if least < 128:
        raise SystemExit(f"a decision grants {least} tokens of thinking, which could cut replies that are scored whole here")
    rows = []
    for mix_name, mix in MIXES.items():
        share = defaultdict(float)
        for row, weight in zip(fresh, weights(fresh, mix)):
            share[chosen[row["id"]]] += weight
        always, cost = score(fresh, mix, lambda row: ("pico-moe", "think"), active)
        reached, spent = score(fresh, mix, lambda row: chosen[row["id"]], active)
        alone = {arm: score(fresh, mix, lambda row, arm=arm: arm, active) for arm in ((m, mode) for m in SHIPPED for mode in MODES)}
        blind = [sum(share[arm] * alone[arm][at] for arm in share) for at in (0, 1)]  # the same arms, dealt out by chance
        cheap = alone["pico-dense", "direct"]
        shown = lambda right, spent: f"{percent(right)} at {100 * spent / cost:.0f} %"
        rows.append([mix_name, shown(always, cost), shown(*cheap), f"**{shown(reached, spent)}**", shown(*blind),
                     f"{100 * (share['pico-dense', 'think'] + share['pico-moe', 'think']):.0f} %",
                     f"{100 * (share['pico-moe', 'direct'] + share['pico-moe', 'think']):.0f} %"])
    return table(["workload", "`pico-moe`, thinking", "`pico-dense`, direct", "routed", "the same arms by chance", "share thinking", "share on `pico-moe`"], rows)


def switches(results):
    names = results[SHIPPED[0]]["switch"]
    return table(["asked by", *(f"{m}: obeyed / right" for m in SHIPPED)],
                 [[f"`{name}`", *(f"{percent(results[m]['switch'][name]['obeyed'])} / {percent(results[m]['switch'][name]['right'])}" for m in SHIPPED)] for name in names])


def budgets(results):
    return table(["budget, tokens", *(f"{m}: right (answered)" for m in SHIPPED)],
                 [[row["budget"], *(f"{percent(results[m]['budgets'][at]['right'])} ({percent(results[m]['budgets'][at]['answered'])})" for m in SHIPPED)]
                  for at, row in enumerate(results[SHIPPED[0]]["budgets"])])


def rounding(results):
    return table(["weights", *(f"{m}: thinking / direct" for m in SHIPPED)],
                 [[name, *(" / ".join(percent(results[m]["rounding"][name][mode]) for mode in MODES) for m in SHIPPED)] for name in ("f16", "int8", "int4")])


def hard_half(results, models):
    """Accuracy on each mode's hard half: the half of the cells where the shipped dense model is worse in that mode."""
    cells = defaultdict(list)
    for e in results["pico-dense"]["sets"]["single"]:
        cells[e["kind"], e["level"]].append(e)
    out = []
    for mode in MODES:
        ordered = sorted(cells, key=lambda cell: mean(e[mode]["right"] for e in cells[cell]))
        hard = set(ordered[:len(ordered) // 2])
        out.append([mode, *(percent(mean(e[mode]["right"] for e in results[m]["sets"]["fresh"] if (e["kind"], e["level"]) in hard)) for m in models)])
    return table(["hard half of the cells", *models], out)


def comparison(results, names):
    """Models side by side on `single`."""
    rows = []
    for label, pick in (("all", {}), ("level 1", {"level": 1}), ("level 2", {"level": 2}), ("level 3", {"level": 3})):
        rows.append([label, *(both(results[name]["sets"]["single"], **pick) for name in names.values())])
    return table(["% right, thinking / direct", *names], rows)


def rl_verdict(results, runs):
    before, after, control = (right(results[name]["sets"]["single"], "think") for name in ("dense", "dense-rl", "dense-control"))
    spent = {name: minutes(runs / name) for name in ("dense-rl", "dense-control")}
    shipped = "It did not help enough to ship: the shipped weights have not been through it." if after <= max(before, control) else \
        "It helped here; the shipped weights have not been through it all the same."
    return f"Thinking answers right: {percent(before)} % before, {percent(after)} % after {spent['dense-rl']:.0f} minutes of it, " \
           f"{percent(control)} % after {spent['dense-control']:.0f} minutes of plain training instead. {shipped}"


def compute(runs):
    parts = []
    for name, label in (("dense", "`pico-dense`"), ("moe", "`pico-moe`")):
        tokens = int(re.findall(r"^done: step \d+, (\d+) tokens", (runs / name / "train.log").read_text("utf-8"), re.M)[-1])
        parts.append(f"{label} saw {tokens / 1e6:.1f} M tokens in {minutes(runs / name):.0f} minutes")
    return ", ".join(parts) + ", each with one core of a shared two-core machine."


def minutes(run):
    """Wall minutes between the first and the last line of a run's `times.log`."""
    at = [int(line.split()[1]) for line in (run / "times.log").read_text("utf-8").splitlines()]
    return (at[-1] - at[0]) / 60


def demonstration(results):
    clean = lambda text: text.replace("<|im_end|>", "").replace("\n", "⏎").replace("|", "\\|")
    rows = []
    for at, row in enumerate(results[SHIPPED[0]]["demonstration"]):
        for m in SHIPPED:
            d = results[m]["demonstration"][at]
            rows.append([f"`{row['question']}`", m, f"`{clean(d['think'].split('</think>')[-1].strip())}`", f"`{clean(d['direct'])}`"])
    return table(["question", "model", "with thinking", "direct"], rows)


def picture(path, draw, width=6.4, height=3.2):
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    draw(axes)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def curves(runs, names):
    def draw(axes):
        for name in names:
            points = re.findall(r"^step \d+ tokens (\d+) loss ([\d.]+)", (runs / name / "train.log").read_text("utf-8"), re.M)
            axes.plot([int(t) / 1e6 for t, _ in points], [float(loss) for _, loss in points], label=name, linewidth=1)
        axes.set(xlabel="million tokens seen", ylabel="loss per supervised token, nats", yscale="log")
        axes.legend(frameon=False)
    return draw


def budget_curve(results):
    def draw(axes):
        for m in SHIPPED:
            line = results[m]["budgets"]
            axes.plot([row["budget"] for row in line], [100 * row["right"] for row in line], marker="o", markersize=3, label=m)
        axes.set(xlabel="thinking budget, tokens", ylabel="% right, levels 2 and 3", ylim=(0, 100))
        axes.legend(frameon=False)
    return draw


def expert_map(layer, at):
    def draw(axes):
        kinds = list(layer["by_kind"])
        image = axes.imshow([[layer["by_kind"][kind][e] for kind in kinds] for e in range(len(layer["load"]))], aspect="auto", cmap="viridis", vmin=0)
        axes.set(xticks=range(len(kinds)), yticks=range(len(layer["load"])), ylabel="expert", title=f"layer {at}: share of each kind's tokens")
        axes.set_xticklabels(kinds, rotation=60, ha="right", fontsize=7)
        plt.colorbar(image, ax=axes)
    return draw


def expert_table(results):
    return table(["layer", "kind–expert mutual information, bits", "least and most loaded expert, %"],
                 [[at, f"{layer['mutual_information_bits']:.2f}", f"{percent(min(layer['load']))} to {percent(max(layer['load']))}"]
                  for at, layer in enumerate(results["pico-moe"]["experts"])])


def shapes(results):
    rows = []
    for label, value in (
        ("architecture", lambda m, s: f"`Qwen3{'Moe' if s.experts else ''}ForCausalLM`" + (f", {s.experts} experts, {s.experts_per_token} per token" if s.experts else "")),
        ("parameters", lambda m, s: f"{results[m]['parameters']:,}"), ("active per token", lambda m, s: f"{results[m]['active']:,}"),
        ("layers, hidden, FFN", lambda m, s: f"{s.layers}, {s.hidden}, {s.ffn}" + (" per expert" if s.experts else "")),
        ("heads, key-value heads", lambda m, s: f"{s.heads}, {s.kv_heads}"), ("context, vocabulary", lambda m, s: f"{s.context:,}, {s.vocabulary:,}"),
        ("weights", lambda m, s: f"f16, {results[m]['parameters'] * 2 / 1e6:.1f} MB"),
    ):
        rows.append([label, *(value(m, SHAPES[m.removeprefix("pico-")]) for m in SHIPPED)])
    return table(["", *SHIPPED], rows)


def main(runs: Path, models: Path):
    results = {path.parent.name: json.loads(path.read_text("utf-8")) for path in runs.glob("*/results.json")}
    for name, run in (("pico-dense", "dense"), ("pico-moe", "moe")):
        results[name] = results[run]
    pictures = models / "pictures"
    pictures.mkdir(exist_ok=True)
    picture(pictures / "learning.svg", curves(runs, [name for name in ("dense", "moe", "twin") if name in results]))
    picture(pictures / "budget.svg", budget_curve(results))
    for at, layer in enumerate(results["pico-moe"]["experts"]):
        picture(pictures / f"experts-{at}.svg", expert_map(layer, at), width=7.2)
    made = {function.__name__: function(results) for function in (shapes, overall, by_cell, routing, switches, budgets, rounding, expert_table, demonstration)}
    with open(runs / "decisions.jsonl", encoding="utf-8") as lines:
        made["routed"] = routed(results, [json.loads(line) for line in lines])
    made["hard_half"] = hard_half(results, SHIPPED)
    made |= {"compute": compute(runs), "per_cell": str(PER_CELL), "free": str(len(results["dense"]["sets"]["free"]))}
    for place, names in (
        ("twin", {"dense twin": "twin", "MoE": "moe-half"}),
        ("learning", {"pico-dense": "dense", "pico-dense, 2 M tokens more": "dense-control", "pico-moe": "moe"}),
        ("rl", {"pico-dense": "dense", "after RL": "dense-rl", "after more plain training": "dense-control"}),
    ):
        missing = [name for name in names.values() if name not in results]
        made[place] = f"Not measured for these weights: {', '.join(missing)} still to be run." if missing else comparison(results, names)
    made["rl_verdict"] = rl_verdict(results, runs) if "dense-rl" in results and "dense-control" in results else ""
    text = (Path(__file__).parent / "card.md").read_text("utf-8")
    (models / "README.md").write_text(re.sub(r"\{\{(\w+)\}\}", lambda match: made[match[1]], text), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
