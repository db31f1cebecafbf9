"""How much a router could gain on the pico models: best policies per cell, fitted on one set, scored on a fresh one.

An arm is a model with thinking on or off. A cell policy gives every (kind, level) one arm; it is what a router reaches that
knows the kind of a question perfectly and nothing else about it. The oracle looks at each question's outcomes.
"""
from collections import defaultdict

MIXES = {"easy-heavy": {1: 0.7, 2: 0.2, 3: 0.1}, "even": {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}, "hard-heavy": {1: 0.1, 2: 0.2, 3: 0.7}}
# Prices of cost tried, in shares of accuracy for always thinking's whole cost.
PRICES = [0.0] + [10 ** (exponent / 8) for exponent in range(-28, 9)]


def weights(rows, mix):
    """Each row's weight: levels by the mix, rows of a level alike."""
    count = defaultdict(int)
    for row in rows:
        count[row["level"]] += 1
    return [mix[row["level"]] / count[row["level"]] for row in rows]


def outcome(row, arm, active):
    """(right, cost) of an arm given as (model, mode); the cost is active parameters times generated tokens."""
    model, mode = arm
    result = row[model][mode]
    return result["right"], result["tokens"] * active[model]


def score(rows, mix, choose, active):
    """Accuracy and mean cost when `choose(row)` names every row's arm."""
    right = cost = 0.0
    for row, weight in zip(rows, weights(rows, mix)):
        r, c = outcome(row, choose(row), active)
        right, cost = right + weight * r, cost + weight * c
    return right, cost


def policy(rows, arms, price, active):
    """The best arm of every cell at this price per unit of cost."""
    cells = defaultdict(list)
    for row in rows:
        cells[row["kind"], row["level"]].append(row)

    def value(group, arm):
        outcomes = [outcome(row, arm, active) for row in group]
        return sum(r - price * c for r, c in outcomes) / len(outcomes)
    best = {cell: max(arms, key=lambda arm: value(group, arm)) for cell, group in cells.items()}
    return lambda row: best[row["kind"], row["level"]]


def room(fitted, fresh, arms, always, mix, active):
    """What policies over `arms` reach, against `always` one arm. Shares are of that arm's cost."""
    accuracy, cost = score(fresh, mix, lambda row: always, active)
    curve = []
    for price in PRICES:
        choose = policy(fitted, arms, price / cost, active)
        reached, spent = score(fresh, mix, choose, active)
        curve.append((spent / cost, reached))
    oracle = score(fresh, mix, lambda row: min(arms, key=lambda arm: (not row[arm[0]][arm[1]]["right"], outcome(row, arm, active)[1])), active)
    within = lambda slack: min((share for share, reached in curve if reached >= accuracy - slack), default=None)
    best = max(curve, key=lambda point: (point[1], -point[0]))
    return {"always": accuracy, "cost": cost, "best": best[1], "best_share": best[0], "share_at_equal": within(0.0), "share_at_1": within(0.01),
            "share_at_2": within(0.02), "oracle": oracle[0], "oracle_share": oracle[1] / cost, "curve": sorted(set(curve))}


def joined(results, name):
    """The rows of a set with every model's outcomes side by side."""
    rows = defaultdict(dict)
    for model, result in results.items():
        for entry in result["sets"][name]:
            row = rows[entry["id"]]
            row.update({key: entry[key] for key in ("id", "kind", "level", "language", "wording")})
            row[model] = {mode: entry[mode] for mode in ("think", "direct")}
    return list(rows.values())
