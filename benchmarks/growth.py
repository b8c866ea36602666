"""Growth of time and memory with the depth of a model and with the number of texts, up to 8 times.

Time should be linear in both. With a limit, memory should not pass it, whatever the depth and the texts. The encoder
has 256 coordinates and, where they are not varied, 2 layers and 128 texts of 64 tokens; half of the units stay.

Run: python -m benchmarks.growth [--memory 800000000]
"""

import argparse

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cost import CASES, GIGABYTE, in_own_process

FACTORS = (1, 2, 4, 8)
LAYERS = 2


def main() -> None:
    """Prune models of growing depth, then with a growing number of texts; print ratios to the smallest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=int, help="bytes, as `prune --memory`; without it there is no limit")
    options = parser.parse_args()
    limit = [] if options.memory is None else ["--memory", str(options.memory)]
    base = {"layers": LAYERS, "samples": CASES["small"].samples}
    runs = [(name, factor) for name in base for factor in FACTORS]
    found = {run: in_own_process("small", [f"--{run[0]}", str(base[run[0]] * run[1]), *limit]) for run in track(runs)}
    table = Table(title="seconds of a prune, and the peak of its process")
    for heading in ("what grows", "to", "a pass", "collect", "rank", "repair", "all", "all, ratio", "passes", "peak"):
        table.add_column(heading, justify="left" if heading == "what grows" else "right")
    for (name, factor), one in found.items():
        stages = [f"{one[stage]:.1f}" for stage in ("pass", "collect", "rank", "repair", "total")]
        ratio = one["total"] / found[name, 1]["total"]
        peak = max(one["peaks"].values()) / GIGABYTE
        passes = f"{one['total'] / one['pass']:.1f}"
        table.add_row(name, str(base[name] * factor), *stages, f"{ratio:.2f}", passes, f"{peak:.2f} GB")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
