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
    """What policies over `arms` reach on `fresh` against `always` one arm, as (accuracy, share of that arm's cost).

    Policies and the price that selects among them are both fitted on `fitted`: the cheapest that stays within 0, 1 or 2
    points of `always` there, and the best.
    """
    known, _ = score(fitted, mix, lambda row: always, active)
    accuracy, cost = score(fresh, mix, lambda row: always, active)
    tried = []
    for price in PRICES:
        choose = policy(fitted, arms, price / cost, active)
        tried.append((*score(fitted, mix, choose, active), choose))

    def fresh_score(choose):
        reached, spent = score(fresh, mix, choose, active)
        return reached, spent / cost

    def within(slack):
        enough = [(spent, at) for at, (reached, spent, _) in enumerate(tried) if reached >= known - slack]
        return fresh_score(tried[min(enough)[1]][2]) if enough else None
    best = max(range(len(tried)), key=lambda at: (tried[at][0], -tried[at][1]))
    cheapest_right = lambda row: min(arms, key=lambda arm: (not row[arm[0]][arm[1]]["right"], outcome(row, arm, active)[1]))
    return {"always": accuracy, "cost": cost, "best": fresh_score(tried[best][2]), "within": [within(slack) for slack in (0.0, 0.01, 0.02)],
            "oracle": fresh_score(cheapest_right)}


def joined(results, name):
    """The rows of a set with every model's outcomes side by side."""
    rows = defaultdict(dict)
    for model, result in results.items():
        for entry in result["sets"][name]:
            row = rows[entry["id"]]
            row.update({key: entry[key] for key in ("id", "kind", "level", "language", "wording")})
            row[model] = {mode: entry[mode] for mode in ("think", "direct")}
    return list(rows.values())
