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
    """Digit differences from the right (`a >= b`): digits are copied as they stand, and a ten is borrowed after seeing them."""
    left, right, borrow, steps = str(a)[::-1], str(b)[::-1], 0, []
    for at, digit in enumerate(left):
        x, y = int(digit), int(right[at]) if at < len(right) else 0
        rest = x - y - borrow
        steps.append(f"{x}-{y}{'-1' if borrow else ''}{'+10' if rest < 0 else ''}={rest % 10}")
        borrow = int(rest < 0)
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


def tens_first(numbers: list[int], falling: bool) -> str:
    """The tens digits of numbers below 100, sorted: the answer then only has to find each one's units."""
    return "".join(str(n // 10) for n in sorted(numbers, reverse=falling))


def factors(total: int, product: int) -> tuple[str, int, int]:
    """Pairs with this product, signed as their sum's sign demands, until one has that sum (which must exist); and that pair in order."""
    steps = []
    for small in range(1, abs(product) + 1):
        large, rest = divmod(abs(product), small)
        if rest:
            continue
        pair = (small if product > 0 else -small, large)
        if total < 0:
            pair = (-pair[0], -pair[1])
        steps.append(f"{pair[0]}*{pair[1]} {sum(pair)}")
        if sum(pair) == total:
            return " ".join(steps), *sorted(pair)
    raise ValueError(f"no two whole numbers have the sum {total} and the product {product}")


def follow(pairs: list[tuple[str, str]], sign: str) -> str:
    """From the first pair's second name to the name it stands first with, and on to the end: `a<b c<d b<c` gives `b<c<d`."""
    following, here, steps = dict(pairs), pairs[0][1], []
    while here:
        steps.append(here)
        here = following.get(here)
    return sign.join(steps)
