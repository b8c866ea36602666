"""Cost of pruning: time as a multiple of one dense forward pass over the same texts, and peak memory.

Run: python -m benchmarks.cost
"""

import argparse
import resource
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from experiments.movie_reviews import calibration, dense_model
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings

MEGABYTE = 1024 * 1024


def main() -> None:
    """Time the pruning and a forward pass in one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    model, tokenizer = dense_model()
    texts = calibration(tokenizer, 0, options.samples)

    def forward() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            for batch in texts:
                model(**batch)
        return time.perf_counter() - started

    forward()
    passes = [forward() for _ in range(2)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = prune(model, texts, keep=options.keep, settings=Settings(rounds=options.rounds)).report.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    passes += [forward() for _ in range(2)]
    one = statistics.median(passes)
    table = Table(title=f"{options.samples} texts, keep {options.keep:g}, {options.rounds} round(s)")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("forward passes", justify="right")
    table.add_row("one dense forward pass", f"{one:.1f}", "1.0")
    for stage in ("collect", "rank", "repair", "total"):
        table.add_row(stage, f"{seconds[stage]:.1f}", f"{seconds[stage] / one:.1f}")
    table.add_row("peak memory beyond model and inputs", f"{(peak - before) / MEGABYTE:.0f} MB", "")
    Console().print(table)


if __name__ == "__main__":
    main()
