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


BEFORE = {"en": ("Please tell me: ", "Hi! ", "Hello, ", "Question: ", "For my homework: ", "I have a question. ", "One more: ", "Help me: ", "ok so "),
          "zh": ("请问：", "你好，", "问题：", "作业题：", "我有个问题，", "再问一个：", "帮帮我：", "麻烦一下，", "那么，")}
AFTER = {"en": (" Thanks!", " please", " Thank you.", " Just the answer.", " I need it for school.", " :)"),
         "zh": ("谢谢！", "谢谢", "麻烦了。", "只要答案。", "作业要用。", "急！")}


def disturb(r: random.Random, question: str, language: str) -> str:
    """The small carelessness of people who type: no full stop, small letters, a please. Used in training only."""
    roll = r.random()
    if roll < 0.12:
        return question.rstrip("?.!？。！ ") or question
    if roll < 0.17 and language == "en" and question[:2].istitle():
        return question[0].lower() + question[1:]
    if roll < 0.22:
        return question + r.choice(AFTER[language])
    if roll < 0.27:
        return r.choice(BEFORE[language]) + question
    if roll < 0.29:
        return question + "\n"
    if roll < 0.33 and language == "zh":
        return question.replace("？", "?").replace("，", ",").replace("。", ".")
    return question
