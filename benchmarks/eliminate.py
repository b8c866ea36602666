"""Time of the elimination, compared with a reference that inverts and re-fits from the start at every step.

Run: python -m benchmarks.eliminate [--large]
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from infoprune.ranking.eliminate import compensate, eliminate

SIZES = ((1536, 384), (3072, 768))
LARGE = (11008, 5504)
PLAIN = (192, 48)  # the reference takes minutes beyond this


def problem(n: int, outputs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a covariance of correlated units, their reader, and the metric at its output."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.eye(n) + torch.randn(n, n, generator=generator) / n**0.5
    x = (torch.randn(2 * n, n, generator=generator) @ mix).double()
    covariance = x.T @ x / len(x)
    covariance.diagonal().add_(0.01 * covariance.diagonal().mean())
    reader = torch.randn(outputs, n, generator=generator).double() / n**0.5
    root = torch.randn(outputs, outputs // 4, generator=generator).double()
    return covariance, reader, root @ root.T / outputs + 0.1 * torch.eye(outputs).double()


def plain(covariance: torch.Tensor, reader: torch.Tensor, metric: torch.Tensor, keep: int) -> list[float]:
    """Return the losses of the trace limit: at every step one inverse and one least-squares fit, O(n^3)."""
    alive, losses = torch.arange(len(covariance)), []
    while len(alive) > keep:
        variance = 1 / torch.linalg.inv(covariance[alive][:, alive]).diagonal()
        fitted = compensate(covariance, reader, alive)
        cost = variance * (fitted * (metric @ fitted)).sum(0) / 2
        losses.append(float(cost.min()))
        alive = alive[torch.arange(len(alive)) != cost.argmin()]
    return losses


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also 11008 to 5504: minutes, and 4 GB")
    options = parser.parse_args()
    table = Table(title=f"Elimination, {torch.get_num_threads()} threads, median of {options.repeats}")
    for name in ("units", "trace, s", "log, s", "reference, s", "reference / trace", "difference of losses"):
        table.add_column(name, justify="right")
    for n, keep in (PLAIN, *SIZES, *([LARGE] if options.large else [])):
        table.add_row(f"{n} to {keep}", *row(n, keep, 1 if n > 4096 else options.repeats))
    Console().print(table)


def row(n: int, keep: int, repeats: int) -> list[str]:
    """Return the times of all versions, alternating in every round, so that a busy machine slows all equally."""
    covariance, reader, metric = problem(n, n // 4)
    gram = reader.T @ metric @ reader
    taken: dict[str, list[float]] = {"trace": [], "log": [], "plain": []}
    losses, expected = torch.empty(0), []
    for _ in range(repeats):
        started = time.perf_counter()
        losses = eliminate(covariance, gram, keep=keep).losses
        taken["trace"].append(time.perf_counter() - started)
        started = time.perf_counter()
        eliminate(covariance, gram, keep=keep, log=True)
        taken["log"].append(time.perf_counter() - started)
        if n <= PLAIN[0]:
            started = time.perf_counter()
            expected = plain(covariance, reader, metric, keep)
            taken["plain"].append(time.perf_counter() - started)
    cells = [f"{statistics.median(taken[name]):.3g}" for name in ("trace", "log")]
    if not expected:
        return [*cells, "", "", ""]
    ratio = statistics.median(slow / fast for slow, fast in zip(taken["plain"], taken["trace"], strict=True))
    difference = (losses / torch.tensor(expected, dtype=torch.float64) - 1).abs().max()
    return [*cells, f"{statistics.median(taken['plain']):.3g}", f"{ratio:.0f}", f"{float(difference):.1e}"]


if __name__ == "__main__":
    main()
