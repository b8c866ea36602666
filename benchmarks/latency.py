"""Measured latency of models that were cut to a latency budget; a classifier of MiniLM's shape with random weights.

Run: python -m benchmarks.latency
"""

import argparse
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.speedup import SHAPE
from infoprune.budgets.allocate import even_counts
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.budgets.timed import as_timed, time_share
from infoprune.measuring.measure import example_batch, measure_latency
from infoprune.structure.sites import find_sites
from infoprune.surgery import outline

BUDGETS = (0.75, 0.5, 0.33, 0.25)


def main() -> None:
    """Print one table; dense and cut models alternate, so that a busy machine slows all equally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.manual_seed(0)
    dense = BertForSequenceClassification(BertConfig(**SHAPE)).eval()
    batch = example_batch(dense.config, options.inputs, options.tokens)
    costs = find_costs(dense, "latency", [batch])
    units = {site.name: site.units for site in find_sites(dense)}
    budgets = [Budget("latency", share) for share in BUDGETS]
    sizes, share = partial(even_counts, units, costs), partial(time_share, dense, costs.shape)
    models = [outline(dense, as_timed(sizes, budget.limit(costs), costs, share)) for budget in budgets]
    times = measure_latency([dense, *models], batch, repeats=options.repeats)
    title = f"{options.inputs} x {options.tokens} tokens, {torch.get_num_threads()} threads, {options.repeats} rounds"
    table = Table(title=title)
    for name in ("latency=", "ms", "measured share", "difference"):
        table.add_column(name, justify="right")
    for share, taken in zip((1.0, *BUDGETS), times, strict=True):
        measured = taken.median / times[0].median
        table.add_row(f"{share:g}", f"{taken.median:.1f}", f"{measured:.3f}", f"{measured / share - 1:+.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
