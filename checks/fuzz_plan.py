"""A million damaged plans: each is refused with an InputError of one line, or is valid and survives a round trip.

Run: python -m checks.fuzz_plan --cases 1000000
"""

import argparse
import json
import math
import random
import time
from collections import Counter

from infoprune.errors import InputError
from infoprune.plan import Plan

GOOD = {
    "version": 2,
    "model_type": "bert",
    "units": {"layers.0.ffn": 8, "layers.0.heads": 2, "vocabulary": 30},
    "kept": {"layers.0.ffn": [0, 3, 7], "layers.0.heads": [1], "vocabulary": [0, 1, 29]},
    "criterion": "information",
    "seed": 0,
    "nats_lost": 0.25,
    "token_map": [0, *[1] * 28, 29],
}
TEXT = json.dumps(GOOD)
SCALARS = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    8,
    1 << 24,
    1 << 63,
    10**300,
    0.0,
    -0.5,
    1e308,
    math.inf,
    -math.inf,
    math.nan,
)
WORDS = (
    "",
    "layers.0.ffn",
    "../../../etc/passwd",
    "__class__",
    "\u0000",
    "\ud800",
    "a\nb",
    "0",
    "units",
    "kept",
    "x" * 300,
)
PIECES = (
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "-",
    "1e999",
    "NaN",
    "Infinity",
    "null",
    "9" * 400,
    "[" * 3000,
    "\u2028",
    "\x00",
)


def value(chance: random.Random, depth: int = 0) -> object:
    choice = chance.random()
    if depth > 3 or choice < 0.5:
        return chance.choice(SCALARS + WORDS)
    if choice < 0.75:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(WORDS): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def damaged(chance: random.Random) -> str:
    """Return the text of a plan with one to three changes of its values or of its characters."""
    if chance.random() < 0.4:
        text = TEXT
        for _ in range(chance.randint(1, 3)):
            at, size = chance.randrange(len(text)), chance.randrange(12)
            text = text[:at] + chance.choice(("", *PIECES)) + text[at + size :]
        return text
    plan = json.loads(TEXT)
    for _ in range(chance.randint(1, 3)):
        node, key = plan, chance.choice([*GOOD, "unknown"])
        while isinstance(node.get(key), dict) and node[key] and chance.random() < 0.8:
            node, key = node[key], chance.choice(list(node[key]))
        held = node.get(key)
        if isinstance(held, list) and chance.random() < 0.8:
            held.insert(chance.randrange(len(held) + 1), chance.choice(SCALARS + tuple(range(-2, 31))))
        elif chance.random() < 0.15:
            node.pop(key, None)
        else:
            node[key] = value(chance)
    return json.dumps(plan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, found, began = random.Random(options.seed), Counter(), time.perf_counter()
    for _ in range(options.cases):
        text = damaged(chance)
        try:
            plan = Plan.from_json(text)
        except InputError as error:
            found["refused"] += 1
            if "\n" in str(error).replace("a\nb", ""):
                raise SystemExit(f"a message of several lines for {text!r}") from error
            continue
        found["accepted"] += 1
        if Plan.from_json(plan.to_json()) != plan:
            raise SystemExit(f"no round trip: {text!r}")
    seconds = time.perf_counter() - began
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(found.items()))
    print(f"{options.cases:,} plans, seed {options.seed}: {counts}, 0 other errors, {seconds:.0f} s")


if __name__ == "__main__":
    main()
