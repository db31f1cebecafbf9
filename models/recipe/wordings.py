"""How questions are put: templates by variant and language, split into those trained on and those never seen.

The templates live in `wordings/*.toml`, the tables of facts in `tables.toml`.
"""
import random
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGES = ("en", "zh")


def _load():
    templates = {}
    for path in sorted((HERE / "wordings").glob("*.toml")):
        for variant, languages in tomllib.loads(path.read_text("utf-8")).items():
            if variant in templates:
                raise ValueError(f"{path.name}: [{variant}] is defined in another file too")
            templates[variant] = languages
    return templates


TEMPLATES = _load()
TABLES = tomllib.loads((HERE / "tables.toml").read_text("utf-8"))


def ask(r: random.Random, variant: str, language: str, unseen: bool, **slots) -> str:
    """A question of this variant, in a wording from the training half or from the other one."""
    return r.choice(TEMPLATES[variant][language]["unseen" if unseen else "seen"]).format(**slots)


def disturb(r: random.Random, question: str, language: str) -> str:
    """The small carelessness of people who type: no full stop, small letters, a please. Used in training only."""
    roll = r.random()
    if roll < 0.12:
        return question.rstrip("?.!？。！ ") or question
    if roll < 0.18 and language == "en" and question[:2].istitle():
        return question[0].lower() + question[1:]
    if roll < 0.22:
        return question + (" Thanks!" if language == "en" else "谢谢！")
    if roll < 0.25 and language == "en" and question[:1].isupper() and question[1:2].islower():
        return "Please tell me: " + question
    if roll < 0.25 and language == "zh":
        return "请问：" + question
    if roll < 0.28:
        return question + "\n"
    if roll < 0.31 and language == "zh":
        return question.replace("？", "?").replace("，", ",").replace("。", ".")
    return question
