"""Questions with checkable answers, in English and Chinese: what the pico models are trained on and tested with.

A *kind* is a family of questions, a *cell* a kind at a level (1 easy, 2, 3 hard; 4 is beyond anything trained on and only
tested). Every question has a short chain of thought, an answer and a checker. Two things are held out of training: values
(a tenth of every kind's keys, by hash) and wordings (`unseen` in `wordings/`). Cells over a small fixed table hold out
wordings only: `recall`.
"""
import random
import zlib
from dataclasses import dataclass

import chains
from wordings import TABLES, ask, disturb

EASY = ("greet", "capital", "fact", "translate", "opposite", "format", "outside")
TABULAR = frozenset({"greet", "capital", "fact", "translate", "opposite", "outside"})
KINDS = {}  # name -> (levels, function)
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class Item:
    """One question. `history` holds earlier turns as (question, answer)."""

    kind: str
    level: int
    language: str
    question: str
    chain: str
    answer: str
    key: str                       # what makes the question distinct, whatever its wording
    checker: str = "exact"         # how answers are compared: exact, json, roots
    history: tuple = ()


class Draw:
    """What a kind's function needs: a source of chance, the language, and which half of the wordings to use."""

    def __init__(self, r: random.Random, language: str, unseen: bool):
        self.r, self.language, self.unseen = r, language, unseen

    def ask(self, variant, **slots):
        return ask(self.r, variant, self.language, self.unseen, **slots)

    def say(self, english, chinese):
        return english if self.language == "en" else chinese

    def digits(self, count):
        return self.r.randint(0, 9) if count == 1 else self.r.randint(10 ** (count - 1), 10**count - 1)


def kind(*levels):
    def register(function):
        KINDS[function.__name__.rstrip("_")] = (levels, function)
        return function
    return register


# Easy: what is known or not known; thinking cannot help.

@kind(1)
def greet(d, level):
    row = d.r.choice(TABLES["greeting"])
    question = d.r.choice(row[d.language + ("_unseen" if d.unseen else "")])
    reply = row[d.language + "_reply"]
    return dict(question=question, chain=d.say("A short greeting. Reply politely.", "一句问候，礼貌回复。"), answer=reply, key=reply)


@kind(1)
def capital(d, level):
    row = d.r.choice(TABLES["capital"])
    country, city = row[d.language], row[d.language + "_city"]
    chain = d.say(f"The capital of {country} is {city}.", f"{country}的首都是{city}。")
    return dict(question=d.ask("capital", country=country), chain=chain, answer=city, key=row["en"])


@kind(1)
def fact(d, level):
    row = d.r.choice(TABLES["fact"])
    question, answer = d.r.choice(row[d.language + ("_unseen" if d.unseen else "")]), row[d.language + "_answer"]
    return dict(question=question, chain=d.say(f"I know this: {answer}.", f"这是常识：{answer}。"), answer=answer, key=row["en"][0])


@kind(1)
def translate(d, level):
    row = d.r.choice(TABLES["word"])
    source, target, variant = (row["en"], row["zh"], "to_zh") if d.r.random() < 0.5 else (row["zh"], row["en"], "to_en")
    chain = d.say(f"'{source}' means '{target}'.", f"“{source}”就是“{target}”。")
    return dict(question=d.ask(variant, w=source), chain=chain, answer=target, key=f"{variant} {row['en']}")


@kind(1)
def opposite(d, level):
    pair = d.r.choice(TABLES["opposite"])[d.language]
    word, other = pair if d.r.random() < 0.5 else pair[::-1]
    chain = d.say(f"'{word}' is the opposite of '{other}'.", f"“{word}”和“{other}”相反。")
    return dict(question=d.ask("opposite", w=word), chain=chain, answer=other, key=word)


@kind(1, 2)
def format_(d, level):
    a, b = d.r.choice(WORDS), d.r.choice(WORDS)
    copying = d.say("Just copy.", "直接照写。")
    if level == 1:
        variant = d.r.choice(("copy", "join", "bracket"))
        if variant == "copy":
            text = d.r.choice((f"{a} {b}", a, f"{b} {d.r.randint(1, 99)}"))
            return dict(question=d.ask("copy", x=text), chain=copying, answer=text, key=text)
        if variant == "join":
            return dict(question=d.ask("join", a=a, b=b), chain=copying, answer=f"{a}-{b}", key=f"{a}-{b}")
        return dict(question=d.ask("bracket", w=a), chain=copying, answer=f"[{a}]", key=f"[{a}]")
    if d.r.random() < 0.5:
        upper = a.upper()
        return dict(question=d.ask("upper", w=a), chain=" ".join(f"{x}{x.upper()}" for x in a), answer=upper, key=upper)
    name, age = d.r.choice(TABLES["names"][d.language]), d.r.randint(5, 80)
    answer = f'{{"name":"{name}","age":{age}}}'
    return dict(question=d.ask("json", name=name, age=age), chain=d.say("JSON with two keys.", "两个键的JSON。"),
                answer=answer, key=f"{name} {age}", checker="json")


@kind(1)
def outside(d, level):
    question = ask(d.r, "outside", d.language, d.unseen)
    return dict(question=question, chain=d.say("This is outside what I can do.", "这超出了我的能力。"),
                answer=d.say("Sorry, I can only help with small questions.", "抱歉，我只会回答简单的小问题。"), key=question)


# Arithmetic.

@kind(1, 2, 3, 4)
def add(d, level):
    sizes = {1: ((1, 1), (1, 2), (2, 1)), 2: ((2, 2), (2, 3), (3, 2), (3, 3)),
             3: tuple((m, n) for m in (4, 5, 6) for n in (4, 5, 6)), 4: ((7, 7), (8, 7), (8, 8))}
    a, b = (d.digits(n) for n in d.r.choice(sizes[level]))
    chain = d.say("From the right: ", "从个位算：") + chains.add(a, b)
    return dict(question=d.ask("add", a=a, b=b), chain=chain, answer=str(a + b), key=f"{min(a, b)}+{max(a, b)}")


@kind(1, 2, 3, 4)
def sub(d, level):
    sizes = {1: ((1, 1), (2, 1)), 2: ((2, 2), (3, 2), (3, 3)),
             3: tuple((m, n) for m in (4, 5, 6) for n in (4, 5, 6) if n <= m), 4: ((7, 7), (8, 7), (8, 8))}
    a, b = sorted((d.digits(n) for n in d.r.choice(sizes[level])), reverse=True)
    chain = d.say("From the right: ", "从个位算：") + chains.subtract(a, b)
    return dict(question=d.ask("sub", a=a, b=b), chain=chain, answer=str(a - b), key=f"{a}-{b}")


@kind(1, 2, 3, 4)
def mul(d, level):
    if level == 1:
        a, b = d.digits(1), d.digits(1)
        chain = f"{a}*{b}={a * b}"
    else:
        a, b = {
            2: lambda: (d.digits(2), d.r.randint(2, 9)),
            3: lambda: (d.digits(2), d.digits(2)) if d.r.random() < 0.7 else (d.digits(3), d.r.randint(2, 9)),
            4: lambda: (d.digits(3), d.digits(2)),
        }[level]()
        chain = chains.multiply(a, b)
        if b < 10 and d.r.random() < 0.5:
            a, b = b, a
    return dict(question=d.ask("mul", a=a, b=b), chain=chain, answer=str(a * b), key=f"{min(a, b)}*{max(a, b)}")


@kind(2, 3)
def mod(d, level):
    divisor, a = d.r.randint(3, 9), d.r.randint(10, 60) if level == 2 else d.r.randint(100, 999)
    return dict(question=d.ask("mod", a=a, d=divisor), chain=chains.divide(a, divisor), answer=str(a % divisor), key=f"{a}%{divisor}")


@kind(1, 2, 3, 4)
def chain(d, level):
    total = d.r.randint(1, 30)
    expression, steps = str(total), []
    for _ in range({1: 2, 2: 3, 3: 6, 4: 9}[level]):
        operand, plus = d.r.randint(1, 9 if level == 1 else 30), d.r.random() < 0.5
        plus = plus or total < operand
        after = total + operand if plus else total - operand
        steps.append(f"{total}{'+' if plus else '-'}{operand}={after}")
        expression += f"{'+' if plus else '-'}{operand}"
        total = after
    return dict(question=d.ask("chain", e=expression), chain=" ".join(steps), answer=str(total), key=expression)


@kind(1, 2)
def compare(d, level):
    larger = d.r.random() < 0.5
    if level == 1:
        a, b = d.r.sample(range(1, d.r.choice((100, 1000))), 2)
        chain = f"{max(a, b)}>{min(a, b)}"
        answer = max(a, b) if larger else min(a, b)
    else:
        # 9.11 and 9.9: the shorter one is padded before the comparison.
        whole = d.r.randint(0, 20)
        tenths, hundredths = d.r.randint(1, 9), d.r.randint(1, 99)
        if hundredths % 10 == 0:
            hundredths += 1
        a, b = f"{whole}.{tenths}", f"{whole if d.r.random() < 0.8 else d.r.randint(0, 20)}.{hundredths:02}"
        if float(a) == float(b):
            return None
        if d.r.random() < 0.5:
            a, b = b, a
        padded = sorted((f"{float(x):.2f}" for x in (a, b)), key=float)
        chain = f"{padded[1]}>{padded[0]}"
        answer = max(a, b, key=float) if larger else min(a, b, key=float)
    question = d.ask("larger" if larger else "smaller", a=a, b=b)
    return dict(question=question, chain=chain, answer=str(answer), key=f"{larger} {' '.join(sorted(map(str, (a, b))))}")


@kind(2, 3, 4)
def sort(d, level):
    numbers = d.r.sample(range(1, 100), {2: 4, 3: 7, 4: 10}[level])
    falling = d.r.random() < 0.4
    listed = ", ".join(map(str, numbers))
    return dict(question=d.ask("sort_down" if falling else "sort_up", list=listed), chain=d.say("Tens: ", "十位：") + chains.tens_first(numbers, falling),
                answer=", ".join(map(str, sorted(numbers, reverse=falling))), key=listed)


def _term(coefficient, name, first=False):
    """`+3x`, `-x`, `x`: a term as people write it; nothing for zero."""
    if coefficient == 0:
        return ""
    sign = "-" if coefficient < 0 else "" if first else "+"
    size = abs(coefficient)
    return sign + (name if size == 1 and name else f"{size}{name}")


@kind(1, 2, 3)
def equation(d, level):
    if level == 1:
        x, a, form = d.r.randint(1, 30), d.r.randint(1, 30), d.r.random()
        if form < 0.4:
            text, chain = d.r.choice((f"x+{a}={x + a}", f"{a}+x={x + a}")), f"x={x + a}-{a}={x}"
        elif form < 0.75:
            text, chain = f"x-{a}={x - a}", f"x={chains.signed(x - a, a)}"
        else:
            x, a = d.r.randint(1, 12), d.r.randint(2, 9)
            text, chain = f"{a}x={a * x}", f"x={a * x}/{a}={x}"
    elif level == 2:
        x, a, b = d.r.randint(1, 20), d.r.randint(2, 9), d.r.choice((-1, 1)) * d.r.randint(1, 20)
        total = a * x + b
        text = f"{a}x{_term(b, '')}={total}"
        chain = f"{a}x={chains.signed(total, -b)} x={a * x}/{a}={x}"
    else:
        x, a = d.r.randint(-12, 12), d.r.randint(3, 9)
        c, b = d.r.randint(1, a - 1), d.r.choice((-1, 1)) * d.r.randint(1, 20)
        right = (a - c) * x + b
        rest, other = a - c, right - b
        text = f"{a}x{_term(b, '')}={_term(c, 'x', first=True)}{_term(right, '')}"
        chain = f"{a}-{c}={rest} {chains.signed(right, -b)} {_term(rest, 'x', first=True)}={other} x={x}"
    return dict(question=d.ask("equation", e=text), chain=chain, answer=f"x={x}", key=text)


@kind(3)
def quadratic(d, level):
    low, high = sorted((d.r.randint(-13, 13), d.r.randint(-13, 13)))
    if d.r.random() < 0.1:
        high = low
    b, c = -(low + high), low * high
    square = d.r.choice(("x²", "x²", "x^2"))
    text = f"{square}{_term(b, 'x')}{_term(c, '')}=0"
    if c and d.r.random() < 0.2:
        text = f"{square}{_term(b, 'x')}={-c}"
    answer = f"x={low}" if low == high else d.say(f"x={low} or x={high}", f"x={low}或x={high}")
    if c == 0:
        chain = f"x(x{_term(b, '')})=0 {low} {high}"
    else:
        # Two numbers whose product is c and whose sum is -b.
        tried, low, high = chains.factors(-b, c)
        chain = f"{-b} {c}: {tried}: {low} {high}"
    return dict(question=d.ask("quadratic", e=text), chain=chain, answer=answer, key=f"{b},{c}", checker="roots")


# Reading and reasoning.

@kind(1, 2, 3)
def word(d, level):
    name, other = _names(d, 2, PEOPLE)
    item = d.r.choice(TABLES["item"])
    thing = item["en"] if d.language == "en" else item["cl"] + item["zh"]
    classifier = {} if d.language == "en" else {"cl": item["cl"]}
    total = d.r.randint(3, 20)
    parts, steps, key = [d.ask("word_start", n=name, v=total, it=thing)], [], [str(total)]
    for _ in range({1: 1, 2: 2, 3: 4}[level]):
        move = d.r.choice(("gain", "given", "give", "lose", "times"))
        value = d.r.randint(2, 12)
        if move == "times" and (total > 15 or level == 1) or move in ("give", "lose") and total < value:
            move = "gain"
        if move == "times":
            value = d.r.randint(2, 4)
            parts.append(d.ask("word_times", n=name, v=value))
        elif move in ("given", "give"):
            parts.append(d.ask("word_" + move, n=name, m=other, v=value, **classifier))
        else:
            parts.append(d.ask("word_" + move, n=name, v=value, **classifier))
        sign = {"gain": "+", "given": "+", "times": "*"}.get(move, "-")
        after = {"+": total + value, "-": total - value, "*": total * value}[sign]
        steps.append(f"{total}{sign}{value}={after}")
        key.append(f"{sign}{value}")
        total = after
    parts.append(d.ask("word_ask", n=name, it_ask=thing))
    return dict(question=d.say(" ", "").join(parts), chain=" ".join(steps), answer=str(total), key="".join(key))


# Who else may hold things, so that a story is more than a handful of names.
PEOPLE = {"en": ("Grandma", "Dad", "Mr Lee", "Aunt May", "Uncle Joe", "Farmer Bill", "Miss Green", "Captain Fox", "Mum", "Doctor Ray"),
          "zh": ("农夫", "奶奶", "妹妹", "老师", "面包师", "班长", "爸爸", "店主", "叔叔", "医生")}
SURNAMES = "王李张刘陈杨赵黄周吴阿老"


def _names(d, count, others=None):
    """Names of people, a part of them made up, since a name says nothing and any name must do."""
    pool = list(TABLES["names"][d.language]) + list(others[d.language] if others else ())
    names = d.r.sample(pool, count)
    for at in range(count):
        if d.r.random() < 0.2:
            made = some_word(d.r, 1).capitalize() if d.language == "en" else d.r.choice(SURNAMES) + d.r.choice("明红军强丽芳华伟静敏")
            if made not in names:
                names[at] = made
    return names


DAYS = {"en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        "zh": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")}
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
MONTH_LENGTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@kind(1, 2, 3)
def date(d, level):
    return _calendar(d, level) if d.r.random() < 0.4 else _weekday(d, level)


def _weekday(d, level):
    days, today = DAYS[d.language], d.r.randrange(7)
    distance = d.r.randint(*{1: (2, 4), 2: (5, 20), 3: (21, 200)}[level])
    step = -1 if d.r.random() < 0.3 else 1
    rest = distance % 7
    walk = " ".join(f"{at} {days[(today + step * at) % 7]}" for at in range(rest + 1))
    chain = walk if distance < 7 else f"{distance}-{distance - rest}={rest} {walk}"
    question = d.ask("weekday" if step > 0 else "weekday_ago", day=days[today], n=distance)
    return dict(question=question, chain=chain, answer=days[(today + step * rest) % 7], key=f"{today} {step * distance}")


def _calendar(d, level):
    month = d.r.choice((0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11))  # never over the end of February, whose length is unknown
    day, distance = d.r.randint(1, MONTH_LENGTH[month]), d.r.randint(*{1: (2, 9), 2: (4, 28), 3: (29, 60)}[level])
    written = lambda month, day: d.say(f"{MONTHS[month]} {day}", f"{month + 1}月{day}日")
    here, at = month, day + distance
    if (level == 1) != (at <= MONTH_LENGTH[month]):
        return None
    steps = [f"{day}+{distance}={at}"]
    while at > MONTH_LENGTH[here]:
        if here == 0 and at > 31 + 28:
            return None
        steps.append(d.say(f"{MONTHS[here]} ", f"{here + 1}月") + f"{at}-{MONTH_LENGTH[here]}={at - MONTH_LENGTH[here]}")
        at, here = at - MONTH_LENGTH[here], (here + 1) % 12
    return dict(question=d.ask("calendar", date=written(month, day), n=distance), chain=" ".join(steps),
                answer=written(here, at), key=f"{month} {day} {distance}")


UNITS = (  # larger, smaller, how many, most of the larger
    (("km", "千米"), ("m", "米"), 1000, 99), (("m", "米"), ("cm", "厘米"), 100, 99), (("kg", "千克"), ("g", "克"), 1000, 99),
    (("hours", "小时"), ("minutes", "分钟"), 60, 12), (("minutes", "分钟"), ("seconds", "秒"), 60, 12), (("weeks", "周"), ("days", "天"), 7, 12),
    (("days", "天"), ("hours", "小时"), 24, 9),
)


@kind(1, 2, 3)
def unit(d, level):
    if level == 3:
        h, m, s = d.r.randint(2, 9), d.r.randint(2, 59), d.r.randint(2, 59)
        minutes = h * 60 + m
        chain = f"{h}*60={h * 60} {h * 60}+{m}={minutes} {minutes}*6: {chains.times_digit(minutes, 6)} {minutes * 60}+{s}={minutes * 60 + s}"
        return dict(question=d.ask("seconds", h=h, m=m, s=s), chain=chain, answer=str(minutes * 60 + s), key=f"{h} {m} {s}")
    large, small, factor, most = d.r.choice(UNITS)
    name, large, small, value = large[0], d.say(*large), d.say(*small), d.r.randint(2, most)
    if level == 1:
        return dict(question=d.ask("unit", v=value, **{"from": large, "to": small}), chain=f"{value}*{factor}={value * factor}",
                    answer=str(value * factor), key=f"{value} {factor} {name}")
    rest = d.r.randint(2, factor - 1)
    total = value * factor + rest
    return dict(question=d.ask("compound", x=value, y=rest, small=small, **{"from": large, "to": small}),
                chain=f"{value}*{factor}={value * factor} {value * factor}+{rest}={total}", answer=str(total), key=f"{value} {rest} {name}")


def _expression(r, depth, comparisons):
    """A Boolean expression as nested tuples; a share of its leaves are `comparisons` of numbers."""
    if depth == 0:
        if r.random() < comparisons:
            return (r.choice("<>"), *r.sample(range(1, 30), 2))
        return r.random() < 0.5
    if r.random() < 0.25:
        return ("not", _expression(r, depth - 1, comparisons))
    shallower = max(0, depth - 1 - (r.random() < 0.5))
    return (r.choice(("and", "or")), _expression(r, depth - 1, comparisons), _expression(r, shallower, comparisons))


def _written(node, inner=False):
    if isinstance(node, bool):
        return str(node)
    if node[0] in "<>":
        return f"{node[1]} {node[0]} {node[2]}"
    text = f"not {_written(node[1], True)}" if node[0] == "not" else f"{_written(node[1], True)} {node[0]} {_written(node[2], True)}"
    return f"({text})" if inner else text


def _reduced(node):
    """Every operation whose operands are known, done at once."""
    if isinstance(node, bool):
        return node
    if node[0] in "<>":
        return node[1] < node[2] if node[0] == "<" else node[1] > node[2]
    if all(isinstance(child, bool) for child in node[1:]):
        return not node[1] if node[0] == "not" else node[1] and node[2] if node[0] == "and" else node[1] or node[2]
    return (node[0], *map(_reduced, node[1:]))


@kind(1, 2, 3)
def bool_(d, level):
    node = _expression(d.r, {1: 1, 2: 2, 3: 4}[level], {1: 0.4, 2: 0.2, 3: 0.1}[level])
    text, steps = _written(node), []
    while not isinstance(node, bool):
        node = _reduced(node)
        steps.append(_written(node))
    if level == 3 and len(steps) < 3:
        return None
    return dict(question=d.ask("bool", e=text), chain=" = ".join(steps), answer=str(node), key=text)


@kind(1, 2, 3)
def code(d, level):
    r = d.r
    if level == 1:
        a, b, operation = r.randint(1, 20), r.randint(1, 20), r.choice(("+", "-", "max", "min"))
        shown = f"{operation}(a, b)" if operation.isalpha() else f"a{operation}b"
        value = {"+": a + b, "-": a - b, "max": max(a, b), "min": min(a, b)}[operation]
        text = f"a={a}\nb={b}\nprint({shown})"
        chain = f"{operation} {a} {b}: {value}" if operation.isalpha() else f"{a}+{b}={value}" if operation == "+" else chains.signed(a, -b)
    elif level == 2 and r.random() < 0.4:
        a, b, yes, no = r.randint(1, 30), r.randint(1, 30), r.randint(1, 9), r.randint(1, 9)
        holds = a > b
        value = a + yes if holds else b - no
        text = f"a={a}\nb={b}\nif a>b:\n    print(a+{yes})\nelse:\n    print(b-{no})"
        chain = f"{a}>{b} {holds} " + (f"{a}+{yes}={value}" if holds else chains.signed(b, -no))
    else:
        s, k = r.randint(0, 9), r.randint(1, 6)
        rounds, body = (r.randint(2, 5), "const") if level == 2 else (r.randint(3, 6), r.choice(("times", "double", "parity")))
        lines = {"const": f"    s+={k}", "times": f"    s+=i*{k}", "double": "    s=s*2-i",
                 "parity": f"    if i%2==0:\n        s+={k}\n    else:\n        s+=i"}[body]
        text, steps, value = f"s={s}\nfor i in range({rounds}):\n{lines}\nprint(s)", [], s
        for i in range(rounds):
            if body == "double":
                after = value * 2 - i
                steps.append(f"{i}: {value}*2={value * 2} {value * 2}-{i}={after}")
            else:
                gain = {"const": k, "times": i * k, "parity": k if i % 2 == 0 else i}[body]
                after = value + gain
                steps.append(f"{i}: {value}+{gain}={after}" if body != "times" else f"{i}: {i}*{k}={gain} {value}+{gain}={after}")
            value = after
        chain = f"i=0..{rounds - 1} " + " ".join(steps)
    return dict(question=d.ask("code", code=text), chain=chain, answer=str(value), key=text)


RELATIONS = (  # comparative, its inverse, superlative, its inverse
    (("taller", "shorter", "tallest", "shortest"), ("高", "矮", "高", "矮")),
    (("older", "younger", "oldest", "youngest"), ("大", "小", "大", "小")),
    (("faster", "slower", "fastest", "slowest"), ("快", "慢", "快", "慢")),
)


@kind(2, 3, 4)
def logic(d, level):
    names = _names(d, {2: 3, 3: 5, 4: 7}[level])
    more, less, most, least = d.say(*d.r.choice(RELATIONS))
    clues = []
    for at in range(len(names) - 1):
        high, low = names[at], names[at + 1]
        form = d.r.random()
        if d.language == "en":
            text = f"{high} is {more} than {low}." if form < 0.75 else f"{low} is {less} than {high}."
        else:
            text = f"{high}比{low}{more}。" if form < 0.6 else f"{low}比{high}{less}。" if form < 0.85 else f"{low}没有{high}{more}。"
        clues.append((high, low, text))
    d.r.shuffle(clues)
    top = d.r.random() < 0.5
    question = d.ask("logic_top", clues=d.say(" ", "").join(text for *_, text in clues), most=most if top else least)
    # All clues are turned the way that is asked, so that the next name is always the one that followed this one before.
    sign = d.say(" < ", "<") if top else d.say(" > ", ">")  # spaced as the names are in the text: the same tokens
    pairs = [(low, high) if top else (high, low) for high, low, _ in clues]
    chain = d.say(" ; ", " ").join(map(sign.join, pairs)) + d.say(" : ", ": ") + chains.follow(pairs, sign)
    return dict(question=question, chain=chain, answer=names[0] if top else names[-1], key="".join(text for *_, text in clues) + most * top)


# Letters.

WORDS = sorted(set(TABLES["spell"]) | {row["en"] for row in TABLES["word"] if row["en"].isalpha()})
CHINESE = {row["en"]: row["zh"] for row in TABLES["word"]}
LENGTHS = {1: (2, 5), 2: (6, 8), 3: (9, 14), 4: (15, 18)}


def some_word(r, level):
    """A real word, a blend of two, or random letters: spelling must not depend on having met the word."""
    low, high = LENGTHS[level]
    while True:
        roll = r.random()
        if roll < 0.45 and level < 4:
            found = r.choice(WORDS)
        elif roll < 0.8:
            a, b = r.choice(WORDS), r.choice(WORDS)
            found = a[:r.randint(1, len(a))] + b[r.randrange(len(b)):]
        else:
            letters = r.sample(ALPHABET, r.randint(3, 8))
            found = "".join(r.choice(letters) for _ in range(r.randint(low, high)))
        if low <= len(found) <= high:
            return found


@kind(1, 2, 3, 4)
def count(d, level):
    found = some_word(d.r, level)
    letter = d.r.choice(found) if d.r.random() < 0.85 else d.r.choice("abcdefghilmnoprst")
    answer = str(found.count(letter))
    if level < 4 and found in CHINESE and d.r.random() < 0.5:
        return dict(question=d.ask("count_via", zh=CHINESE[found], c=letter), chain=f"{found}: {chains.tally(found, letter)}: {answer}",
                    answer=answer, key=found)
    return dict(question=d.ask("count", c=letter, w=found), chain=f"{chains.tally(found, letter)}: {answer}", answer=answer, key=found)


@kind(1, 2, 3)
def letter(d, level):
    found = some_word(d.r, level)
    at = d.r.randint(1, len(found))
    ordinal = d.say(f"{at}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(at, 'th') }", str(at))
    if at <= 10 and d.r.random() < 0.35:
        ordinal = d.say(("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), "一二三四五六七八九十")[at - 1]
    return dict(question=d.ask("letter", w=found, k=ordinal), chain=chains.numbered(found[:at]), answer=found[at - 1], key=found)


@kind(1, 2, 3, 4)
def reverse(d, level):
    found = some_word(d.r, level)
    return dict(question=d.ask("reverse", w=found), chain=f"{chains.numbered(found)}: {chains.numbered_back(found)}",
                answer=found[::-1], key=found)


# The second turn of a conversation that leans on the first.

@kind(1, 2)
def follow(d, level):
    if level == 2:
        while True:
            first = draw(d.r, d.r.choice(("add", "sub", "chain", "mul", "word")), d.r.choice((1, 1, 2)), d.language)
            before = int(first.answer)
            if before <= 200:
                break
        move, value = d.r.choice(("add", "sub", "mul")), d.r.randint(2, 12)
        if move == "mul" and before > 20 or move == "sub" and before < value:
            move = "add"
        after = {"add": before + value, "sub": before - value, "mul": before * value}[move]
        return dict(question=d.ask("follow_" + move, v=value), chain=f"{before}{ {'add': '+', 'sub': '-', 'mul': '*'}[move] }{value}={after}",
                    answer=str(after), key=f"{before} {move} {value}", history=((first.question, first.answer),))
    kind_ = d.r.choice(("capital", "opposite", "translate"))
    first = draw(d.r, kind_, 1, d.language)
    for _ in range(50):
        second = draw(d.r, kind_, 1, d.language)
        if second.answer != first.answer and second.key.split()[0] == first.key.split()[0] or kind_ != "translate" and second.answer != first.answer:
            break
    asked = {"capital": lambda: next(row[d.language] for row in TABLES["capital"] if row["en"] == second.key),
             "opposite": lambda: second.key,
             "translate": lambda: second.key.split(" ", 1)[1] if second.key.startswith("to_zh") else CHINESE[second.key.split(" ", 1)[1]]}[kind_]()
    return dict(question=d.ask("follow_same", x=asked), chain=second.chain, answer=second.answer, key=f"{first.key} {second.key}",
                history=((first.question, first.answer),))


CELLS = [(name, level) for name, (levels, _) in KINDS.items() for level in levels if level < 4]
BEYOND = [(name, 4) for name, (levels, _) in KINDS.items() if 4 in levels]


def recall(kind_name: str, level: int) -> bool:
    """Whether a cell asks for what stands in a small table, all of which is trained on."""
    return kind_name in TABULAR or (kind_name, level) == ("mul", 1)


def held_out(kind_name: str, key: str) -> bool:
    """Whether this value is kept for testing: one in ten, by hash, the same on every machine."""
    tables = {"mul": len(key) == len("7*8"), "bool": not set("<>()") & set(key)}  # products, and what `and`, `or`, `not` do
    if kind_name in TABULAR or tables.get(kind_name):
        return False
    if kind_name == "date":  # forwards and backwards together, or a model learns that what is never asked one way is asked the other
        key = key.replace("-", "")
    return zlib.crc32(f"{kind_name}#{key}".encode()) % 10 == 0


def draw(r: random.Random, kind_name: str, level: int, language: str, test: bool = False, unseen: bool = False) -> Item:
    """One question of a cell. `test` asks for a held-out value, `unseen` for a wording outside training."""
    _, function = KINDS[kind_name]
    while True:
        made = function(Draw(r, language, unseen), level)
        if made and (recall(kind_name, level) or held_out(kind_name, made["key"]) == test):
            item = Item(kind_name, level, language, **made)
            if not test and not unseen and kind_name != "format":
                item.question = disturb(r, item.question, language)
            return item
