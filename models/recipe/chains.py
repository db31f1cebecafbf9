"""Short chains of thought whose every step is a small, local and checkable move.

A tiny model cannot carry what it has not written down: each helper writes the carry, the position or the rest it will
need next, and no more, since every token of thinking is paid for.
"""


def add(a: int, b: int) -> str:
    """Digit sums from the right, with the carry written into the sum that uses it."""
    left, right, carry, steps = str(a)[::-1], str(b)[::-1], 0, []
    for at in range(max(len(left), len(right))):
        x = int(left[at]) if at < len(left) else 0
        y = int(right[at]) if at < len(right) else 0
        total = x + y + carry
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return " ".join(steps)


def subtract(a: int, b: int) -> str:
    """Digit differences from the right (`a >= b`); a borrow makes the upper digit a teen and the next one less."""
    left, right, borrow, steps = str(a)[::-1], str(b)[::-1], 0, []
    for at, digit in enumerate(left):
        x, y = int(digit), int(right[at]) if at < len(right) else 0
        short = x - y - borrow < 0
        rest = x - y - borrow + (10 if short else 0)
        steps.append(f"{x + 10 if short else x}-{y}{'-1' if borrow else ''}={rest}")
        borrow = int(short)
    return " ".join(steps)


def times_digit(a: int, digit: int) -> str:
    """Schoolbook multiplication by one digit: products from the right, each with the carry it receives."""
    carry, steps = 0, []
    for x in str(a)[::-1]:
        total = int(x) * digit + carry
        steps.append(f"{x}*{digit}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return " ".join(steps)


def multiply(a: int, b: int) -> str:
    """`a` times the digits of `b`, then the sum of the shifted products."""
    if b < 10:
        return times_digit(a, b)
    steps, total, shift = [], None, 1
    for digit in map(int, str(b)[::-1]):
        product = a * digit * shift
        steps.append(f"{a}*{digit}: {times_digit(a, digit)} {product}" if digit else f"{a}*0: 0")
        if total is None:
            total = product
        else:
            if product and total:
                steps.append(f"{total}+{product}: {add(total, product)}")
            total += product
        shift *= 10
    return " ; ".join(steps)


def divide(a: int, d: int) -> str:
    """Long division, digit by digit; the last rest is the remainder."""
    rest, steps = 0, []
    for digit in str(a):
        here = rest * 10 + int(digit)
        rest = here % d
        steps.append(f"{here}-{here - rest}={rest}")
    return " ".join(steps)


def signed(a: int, b: int) -> str:
    """`a + b` for numbers of any sign, brought to a sum or difference of magnitudes first."""
    total = a + b
    if a >= 0 and b >= 0:
        return f"{a}+{b}={total}"
    if a < 0 and b < 0:
        return f"-({-a}+{-b})={total}"
    big, small = max(abs(a), abs(b)), min(abs(a), abs(b))
    return f"{big}-{small}={total}" if total >= 0 else f"-({big}-{small})={total}"


def numbered(word: str) -> str:
    """`cat` as `1c2a3t`: a letter can then be found by its place."""
    return "".join(f"{at}{letter}" for at, letter in enumerate(word, 1))


def numbered_back(word: str) -> str:
    """`cat` as `3t2a1c`."""
    return "".join(f"{at}{word[at - 1]}" for at in range(len(word), 0, -1))


def tally(word: str, letter: str) -> str:
    """The word spelled, with a running count behind every hit: `s t r1 a w b e r2 r3 y`."""
    seen, steps = 0, []
    for here in word:
        seen += here == letter
        steps.append(f"{here}{seen}" if here == letter else here)
    return " ".join(steps)


def by_tens(numbers: list[int], falling: bool) -> str:
    """Numbers below 100 dropped into their tens, tens in order, each bucket in order: a sort in one reading."""
    tens = range(9, -1, -1) if falling else range(10)
    return " ".join(
        f"{ten}:" + "".join(f" {n}" for n in sorted((n for n in numbers if n // 10 == ten), reverse=falling))
        for ten in tens if any(n // 10 == ten for n in numbers)
    )
