"""A report, as a run would write it."""

from infoprune.measuring.measure import Latency
from infoprune.reports.report import Measured, Report

REPORT = Report(
    version=1,
    family="bert",
    task="classification",
    criterion="information",
    seed=3,
    samples=1024,
    kept={"layers.0.heads": (3, 12), "layers.0.ffn": (384, 1536), "layers.1.ffn": (768, 1536)},
    loads_in="infoprune",
    shape=(32, 64),
    dense=Measured(
        22_713_216, 91_200_000_000, 90_852_864, Latency(100.0, 98.0, 103.0), {"accuracy": 0.842, "mse": 0.5}
    ),
    pruned=Measured(
        13_000_000, 22_800_000_000, 52_000_000, Latency(25.0, 24.5, 26.0), {"accuracy": 0.835, "mse": 0.625}
    ),
    agreement=0.971,
    kl=0.0312,
    nats_lost=0.0201,
    seconds={"collect": 3.0, "rank": 1.5, "repair": 4.0, "distill": 0.0, "total": 9.0},
    curves={"layers.0.heads": (2.0, 0.5, 0.0), "layers.0.ffn": (5.0, 0.01, 0.0), "layers.1.ffn": (1.0, 0.02, 0.0)},
)
