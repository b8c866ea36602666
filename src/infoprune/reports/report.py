"""Report: what a cut cost and what it bought, as a frozen value, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import (
    Latency,
    count_bytes,
    count_flops,
    count_parameters,
    example_batch,
    measure_latency,
)
from infoprune.plan import Plan, plan_of
from infoprune.structure.sites import every_site
from infoprune.structure.stock import loads_in
from infoprune.tasks.compare import Comparison
from infoprune.tasks.table import task_of
from infoprune.typed import typed

VERSION = 1
MOST_NATS = 1e100
"""More than any loss: beyond it sums and axes end."""


@dataclass(frozen=True)
class Measured:
    """One model in numbers.

    Args:
        parameters: shared ones once.
        flops: of one forward pass over `Report.shape`.
        bytes: of its parameters and buffers in memory.
        latency_ms: of that pass; None where it was not timed.
        metrics: on the evaluation inputs; empty where there were none.
    """

    parameters: int
    flops: int
    bytes: int
    latency_ms: Latency | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a cut cost and what it bought; the fields are the keys of report.json.

    Args:
        version: of this layout.
        family: the model_type.
        task: what the model is for, e.g. "classification".
        criterion: what chose the units.
        seed: of the choice.
        samples: calibration inputs.
        kept: (units kept, of) for every site.
        loads_in: "transformers" or "infoprune": what can open the checkpoint.
        shape: (inputs, tokens) of the batch for FLOPs and latency, typical of the calibration inputs.
        dense: the model before.
        pruned: the model after.
        agreement: share of evaluation inputs, or of their tokens, with the same answer; for embeddings the mean cosine;
            None for numbers.
        kl: mean KL(dense || pruned) at the softmax on evaluation inputs in nats, or None.
        nats_lost: what the criterion predicted on calibration inputs, or None.
        seconds: by stage, and in total.
        base_model: the dense model's name on the hub, where its config tells.
        curves: nats that the dense model was predicted to lose where 0, 1/20, ... 20/20 of a site's units stay, by
            site; empty where the criterion does not speak nats.
        missing: share of the tokens of new texts that will be none of those that stayed, estimated, where tokens went.
        mapped: how many of these read the row of another from now on; None where the tokenizer splits them.
    """

    version: int
    family: str
    task: str
    criterion: str
    seed: int
    samples: int
    kept: dict[str, tuple[int, int]]
    loads_in: str
    shape: tuple[int, int]
    dense: Measured
    pruned: Measured
    agreement: float | None
    kl: float | None
    nats_lost: float | None
    seconds: dict[str, float]
    base_model: str | None = None
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    missing: float | None = None
    mapped: int | None = None

    def to_json(self) -> str:
        """Text of report.json."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Reads report.json back.

        Raises:
            InputError: not a report of this version.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("version") != VERSION:
                raise InputError(f"report.json is not a report of version {VERSION}; prune again with this release")
            report = typed(cls, data)
            report.check_sizes()
            report.check_curves()
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"report.json is damaged ({error}); prune again") from None
        return report

    def check_sizes(self) -> None:
        """Raises ValueError where a size is none: what is kept out of what, of the batch, of the models."""
        for site, (kept, of) in self.kept.items():
            if not 0 <= kept <= of or of < 1:
                raise ValueError(f"kept.{site} is {kept} of {of}")
        for size in (*self.shape, *(n for m in (self.dense, self.pruned) for n in (m.parameters, m.flops, m.bytes))):
            if size < 1:
                raise ValueError(f"{size} is the size of nothing")

    def check_curves(self) -> None:
        """Raises ValueError where a curve is none: of no site, a single point, or with losses that are none."""
        for site, curve in self.curves.items():
            if site not in self.kept or len(curve) < 2 or not all(0 <= nats < MOST_NATS for nats in curve):
                raise ValueError(f"curves.{site} is no curve of a site")


def describe(
    dense: PreTrainedModel,
    small: PreTrainedModel,
    plan: Plan,
    *,
    samples: int,
    shape: tuple[int, int],
    seconds: dict[str, float],
    curves: Mapping[str, tuple[float, ...]] | None = None,
) -> Report:
    """The part of a report that needs no evaluation inputs and no clock: sizes, FLOPs, what was kept.

    Curves are of the model that is cut, sizes of the first dense one: a site that was cut before has no curve.
    """
    earlier = plan_of(dense)
    cut = set() if earlier is None else {name for name, (kept, of) in earlier.counts.items() if kept < of}
    batch = example_batch(small.config, *shape)  # whose tokens both models have

    def measured(model: PreTrainedModel) -> Measured:
        return Measured(count_parameters(model), count_flops(model, batch), count_bytes(model))

    return Report(
        version=VERSION,
        family=plan.model_type,
        task=task_of(dense),
        criterion=plan.criterion,
        seed=plan.seed,
        samples=samples,
        kept=plan.counts,
        loads_in=loads_in(every_site(dense), plan.counts) if plan.stand_ins is None else "infoprune",
        shape=shape,
        dense=measured(dense),
        pruned=measured(small),
        agreement=None,
        kl=None,
        nats_lost=plan.nats_lost,
        seconds=seconds,
        mapped=plan.mapped,
        curves={name: curve for name, curve in (curves or {}).items() if name not in cut},
    )


def compared(report: Report, comparison: Comparison) -> Report:
    """The report with metrics, agreement and KL divergence on evaluation inputs."""
    return replace(
        report,
        dense=replace(report.dense, metrics=comparison.dense),
        pruned=replace(report.pruned, metrics=comparison.small),
        agreement=comparison.agreement,
        kl=comparison.kl,
    )


def timed(report: Report, dense: PreTrainedModel, small: PreTrainedModel, *, repeats: int = 10) -> Report:
    """The report with latencies, measured side by side in alternating runs."""
    batch = example_batch(small.config, *report.shape)
    before, after = measure_latency([dense, small], batch, repeats=repeats)
    return replace(
        report, dense=replace(report.dense, latency_ms=before), pruned=replace(report.pruned, latency_ms=after)
    )
