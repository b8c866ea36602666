"""A million damaged plans: each is refused with an InputError of one line, or is a plan that survives a round trip.

Run: python -m benchmarks.fuzz_plan --cases 1000000
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
    "version": 1,
    "model_type": "bert",
    "units": {"layers.0.ffn": 8, "layers.0.heads": 2, "vocabulary": 30},
    "kept": {"layers.0.ffn": [0, 3, 7], "layers.0.heads": [1], "vocabulary": [0, 1, 29]},
    "criterion": "information",
    "seed": 0,
    "nats_lost": 0.25,
    "stand_ins": [0, *[1] * 28, 29],
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


def value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.random()
    if depth > 3 or kind < 0.5:
        return draw.choice(SCALARS + WORDS)
    if kind < 0.75:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(WORDS): value(draw, depth + 1) for _ in range(draw.randrange(4))}


def spoilt(draw: random.Random) -> str:
    """The text of a plan with one to three things changed in its values, or in its characters."""
    if draw.random() < 0.4:
        text = TEXT
        for _ in range(draw.randint(1, 3)):
            at, size = draw.randrange(len(text)), draw.randrange(12)
            text = text[:at] + draw.choice(("", *PIECES)) + text[at + size :]
        return text
    plan = json.loads(TEXT)
    for _ in range(draw.randint(1, 3)):
        place, key = plan, draw.choice([*GOOD, "unknown"])
        while isinstance(place.get(key), dict) and place[key] and draw.random() < 0.8:
            place, key = place[key], draw.choice(list(place[key]))
        held = place.get(key)
        if isinstance(held, list) and draw.random() < 0.8:
            held.insert(draw.randrange(len(held) + 1), draw.choice(SCALARS + tuple(range(-2, 31))))
        elif draw.random() < 0.15:
            place.pop(key, None)
        else:
            place[key] = value(draw)
    return json.dumps(plan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, found, began = random.Random(asked.seed), Counter(), time.perf_counter()
    for _ in range(asked.cases):
        text = spoilt(draw)
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
    print(f"{asked.cases:,} plans, seed {asked.seed}: {counts}, 0 other errors, {seconds:.0f} s")


if __name__ == "__main__":
    main()
