"""Is what the pico models are taught and tested with true, held out, and always the same?

Needs no torch: `python -m pytest models/recipe`.
"""
import datetime
import json
import math
import random
import re
from pathlib import Path

import pytest

import questions
import tasks
from wordings import TEMPLATES

EVAL = Path(__file__).parent.parent / "eval"
ALL = tasks.CELLS + tasks.BEYOND


def drawn(cell, count=40, **how):
    r = random.Random(f"{cell}")
    return [tasks.draw(r, *cell, language, **how) for language in ("en", "zh") for _ in range(count)]


@pytest.mark.parametrize("cell", ALL, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_every_step_of_a_chain_holds(cell):
    for item in drawn(cell):
        for step in re.split(r"[\s:：;月算]+", item.chain):
            if sums := re.fullmatch(r"([\d()+*/-]+)((?:=-?\d+)+)", step.split("x=")[-1]):
                left, *right = sums[1], *map(int, sums[2][1:].split("="))
                assert all(eval(left) == value for value in right), f"{step} in {item}"


def roots(item):
    """The integers that solve x² + bx + c = 0."""
    b, c = map(int, item.key.split(","))
    return sorted(x for x in range(-200, 201) if x * x + b * x + c == 0)


def solution(item):
    left, right = (eval(f"lambda x: {re.sub(r'(?<=[0-9])x', '*x', side)}") for side in item.key.split("="))
    return next(x for x in range(-200, 201) if left(x) == right(x))


def converted(item):
    large, *rest, name = item.key.split()
    if item.level == 3:
        return sum(int(n) * factor for n, factor in zip(item.key.split(), (3600, 60, 1)))
    factor = {"km": 1000, "m": 100, "kg": 1000, "hours": 60, "minutes": 60, "weeks": 7, "days": 24}[name]
    return int(large) * factor + (int(rest[0]) if item.level == 2 else 0)


def told(item):
    """A story's count, its changes taken one after another."""
    total, changes = re.match(r"(\d+)(.*)", item.key).groups()
    for sign, value in re.findall(r"([+*-])(\d+)", changes):
        total = eval(f"{total}{sign}{value}")
    return int(total)


numbers = lambda item: list(map(int, re.findall(r"\d+", item.question)))
INDEPENDENT = {  # the answer found another way, from the question where it is easily read, else from the key
    "add": lambda item: sum(numbers(item)), "mul": lambda item: math.prod(numbers(item)), "mod": lambda item: eval(item.key),
    "chain": lambda item: eval(re.search(r"\d+(?:[+-]\d+)+", item.question)[0]), "bool": lambda item: eval(item.key),
    "sub": lambda item: eval(item.key), "sort": lambda item: sorted(numbers(item), reverse=int(item.answer.split(",")[0]) == max(numbers(item))),
    "quadratic": roots, "equation": solution, "unit": converted, "word": told,
    "compare": lambda item: (max if item.key.startswith("True") else min)(map(float, item.key.split()[1:])),
}


@pytest.mark.parametrize("cell", [cell for cell in ALL if cell[0] in INDEPENDENT], ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_answers_are_what_the_question_asks(cell):
    for item in drawn(cell):
        expected = INDEPENDENT[cell[0]](item)
        found = [int(x) for x in re.findall(r"-?\d+", item.answer)] if isinstance(expected, list) else eval(item.answer.removeprefix("x="))
        assert found == (sorted(set(expected)) if cell[0] == "quadratic" else expected), item


def test_factor_pairs_have_the_product_and_the_sum_they_claim():
    for item in drawn(("quadratic", 3), 200):
        if ":" not in item.chain:  # nothing to try where one root is zero
            continue
        goal, tried, found = item.chain.split(":")
        total, product = map(int, goal.split())
        pairs = re.findall(r"(-?\d+)\*(-?\d+) (-?\d+)", tried)
        assert all(int(a) * int(b) == product and int(a) + int(b) == int(both) for a, b, both in pairs), item
        assert int(pairs[-1][2]) == total and sorted(map(int, pairs[-1][:2])) == list(map(int, found.split())), item


def test_a_chain_of_clues_ends_in_the_answer_and_takes_only_steps_it_wrote_down():
    for item in drawn(("logic", 3), 100):
        written, way = re.split(r"\s*:\s*", item.chain)
        names = [name.strip() for name in re.split("[<>]", way)]
        clues = [tuple(name.strip() for name in re.split("[<>]", clue)) for clue in re.split(r" ; | (?=\S+[<>]\S)", written)]
        assert names[-1] == item.answer, item
        assert all(step in clues for step in zip(names, names[1:])), item


@pytest.mark.parametrize("level", (2, 3, 4))
def test_who_is_first_follows_from_the_clues(level):
    for item in drawn(("logic", level)):
        if item.language == "zh":
            continue
        more = {"taller", "older", "faster"}
        pairs = [(a, b) if word in more else (b, a) for a, word, b in re.findall(r"(\w+) is (\w+er) than (\w+)", item.question.lower())]
        highs, lows = {a for a, _ in pairs}, {b for _, b in pairs}
        top = re.search("tallest|oldest|fastest", item.question)
        assert {item.answer.lower()} == (highs - lows if top else lows - highs), item


@pytest.mark.parametrize("level", (1, 2, 3))
def test_programs_print_the_answer(level, capsys):
    for item in drawn(("code", level)):
        exec(item.key)
        assert capsys.readouterr().out.strip() == item.answer, item


@pytest.mark.parametrize("level", (1, 2, 3))
def test_boolean_answers_are_pythons(level):
    for item in drawn(("bool", level), test=True):
        assert str(eval(item.key)) == item.answer, item
        assert all(str(eval(step)) == item.answer for step in item.chain.split(" = ")), item


@pytest.mark.parametrize("level", (1, 2, 3))
def test_letters_are_where_the_answer_says(level):
    for item in drawn(("reverse", level)):
        assert item.answer == item.key[::-1]
    for item in drawn(("count", level)):
        letter = re.findall(r"([a-z])\d", item.chain)
        assert len(letter) == int(item.answer) and all(item.key.count(x) == len(letter) for x in letter)


def test_weekdays_agree_with_the_calendar():
    monday = datetime.date(2026, 11, 23)
    for level in (1, 2, 3):
        for item in drawn(("date", level)):
            if len(item.key.split()) == 2:
                today, distance = map(int, item.key.split())
                assert item.answer == tasks.DAYS[item.language][(monday + datetime.timedelta(days=today + distance)).weekday()]
            else:
                month, day, distance = map(int, item.key.split())
                then = datetime.date(2027, month + 1, day) + datetime.timedelta(days=distance)
                assert item.answer == (f"{tasks.MONTHS[then.month - 1]} {then.day}" if item.language == "en" else f"{then.month}月{then.day}日")


@pytest.mark.parametrize("cell", tasks.CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_held_out_values_are_never_trained_on(cell):
    if tasks.recall(*cell):
        return
    trained = {item.key for item in drawn(cell, 100)}
    tested = {item.key for item in drawn(cell, 20, test=True)}
    assert not trained & tested
    assert all(tasks.held_out(cell[0], key) for key in tested)


def test_unseen_wordings_are_unseen():
    plain = lambda template: re.sub(r"[\W_]+", "", template).lower()
    for variant, languages in TEMPLATES.items():
        for language, split in languages.items():
            assert len(split["unseen"]) >= 8, variant
            assert not {plain(t) for t in split["seen"]} & {plain(t) for t in split["unseen"]}, (variant, language)


def test_the_committed_questions_are_the_generated_ones():
    for name, rows in questions.all_sets().items():
        assert [json.loads(line) for line in open(EVAL / f"{name}.jsonl", encoding="utf-8")] == rows, name


def test_the_card_has_no_unfilled_place():
    assert "{{" not in (EVAL.parent / "README.md").read_text("utf-8")


def test_every_committed_question_has_an_answer_its_checker_accepts():
    for path in EVAL.glob("*.jsonl"):
        for line in open(path, encoding="utf-8"):
            row = json.loads(line)
            assert questions.is_right(row["checker"], row["checker"]["answer"]), f"{path.name} {row['id']}"
            assert not questions.is_right(row["checker"], "no"), f"{path.name} {row['id']}"


@pytest.mark.parametrize("checker, answer, right", [
    ({"type": "roots", "answer": "x=-1"}, "x=-1", True),
    ({"type": "roots", "answer": "x=2 or x=3"}, "x=3或x=2", True),
    ({"type": "roots", "answer": "x=2 or x=3"}, "x=2", False),
    ({"type": "roots", "answer": "x=2 or x=3"}, "2, 3", False),
    ({"type": "json", "answer": '{"name":"Tom","age":5}'}, '{"age": 5, "name": "Tom"}', True),
    ({"type": "json", "answer": '{"name":"Tom","age":5}'}, '{"name":"Tom"', False),
    ({"type": "exact", "answer": "5"}, " 5 ", True),
    ({"type": "exact", "answer": "5"}, "55", False),
    ({"type": "exact", "answer": "5"}, None, False),
])
def test_checkers(checker, answer, right):
    assert questions.is_right(checker, answer) == right


def test_a_seed_always_draws_the_same():
    draw = lambda: [tasks.draw(r, *r.choice(tasks.CELLS), r.choice(("en", "zh"))) for r in [random.Random(5)] for _ in range(200)]
    assert draw() == draw()
