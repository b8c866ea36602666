"""Report: sizes, scores and timings of a cut, as a frozen value and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.files.typed import typed
from infoprune.measuring.active import count_active_parameters
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

VERSION = 1
TRANSFORMERS, SENTENCE_TRANSFORMERS = "transformers", "sentence-transformers"
MOST_NATS = 1e100
"""Upper limit of losses, far above any real one: sums and axes overflow beyond it."""


@dataclass(frozen=True)
class Measured:
    """Sizes and scores of one model.

    Args:
        parameters: Number of parameters; shared ones count once.
        flops: FLOPs of one forward pass over `Report.shape`.
        bytes: Size of its parameters and buffers in memory.
        latency_ms: Latency of that pass in ms; None where it was not timed.
        metrics: Metrics on the evaluation inputs; empty without such inputs.
        active_parameters: Number of parameters that a token reads, where a router chooses among experts; else None.
    """

    parameters: int
    flops: int
    bytes: int
    latency_ms: Latency | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    active_parameters: int | None = None


@dataclass(frozen=True)
class Report:
    """Sizes, scores and timings before and after a cut; the fields are the keys of report.json.

    Args:
        version: Version of this layout.
        family: The model_type.
        task: Task of the model, e.g. "classification".
        criterion: Name of the criterion that chose the units.
        seed: Seed of the choice.
        samples: Number of calibration inputs.
        kept: (units kept, of) for every site.
        loads_in: "transformers" where its classes open the folder as it is, "infoprune" where `import infoprune` has to
            come first.
        shape: (inputs, tokens) of the batch for FLOPs and latency, typical of the calibration inputs.
        dense: Original model.
        pruned: Pruned model.
        agreement: Share of evaluation inputs, or of their tokens, with the same answer; for embeddings the mean cosine;
            None for numbers.
        kl: Mean KL(dense || pruned) at the softmax on evaluation inputs in nats, or None.
        nats_lost: Loss in nats that the criterion predicted on calibration inputs, or None.
        seconds: Time by stage, and in total.
        base_model: Name of the dense model on the hub; None where it was a local folder.
        curves: Predicted loss in nats where 0, 1/20, ... 20/20 of a site's units are kept, by site; empty where the
            criterion does not predict nats.
        missing: Estimated share of the tokens of new texts that are none of the kept tokens; None where none were
            dropped.
        mapped: Number of dropped tokens that are remapped; None where the tokenizer splits them.
        library: Library whose class opens the folder: "transformers" or "sentence-transformers".
        correlation: Pearson correlation of the two models' outputs on evaluation inputs, for numbers; else None.
        squared_difference: Mean squared difference of these outputs, for numbers; else None.

    Examples:
        >>> report = infoprune.prune(model, batches, keep=0.5).report
        >>> report.pruned.parameters < report.dense.parameters
        True
        >>> report.kept["layers.0.heads"]
        (2, 4)
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
    library: str = TRANSFORMERS
    correlation: float | None = None
    squared_difference: float | None = None

    def to_json(self) -> str:
        """Return the text of report.json."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a report from the text of report.json.

        Args:
            text: Contents of report.json.

        Raises:
            InputError: The text is not a report of this version.
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
        """Raise ValueError where a size is not valid: of kept units, of the batch or of the models."""
        for site, (kept, of) in self.kept.items():
            if not 0 <= kept <= of or of < 1:
                raise ValueError(f"kept.{site} is {kept} of {of}")
        for size in (*self.shape, *(n for m in (self.dense, self.pruned) for n in (m.parameters, m.flops, m.bytes))):
            if size < 1:
                raise ValueError(f"{size} is the size of nothing")

    def check_curves(self) -> None:
        """Raise ValueError where a curve is not valid: of no known site, with a single point, or out of range."""
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
    """Return a report without scores and timings: sizes, FLOPs and kept units.

    Curves belong to the model that is cut, sizes to the first dense one: a site that was cut before has no curve.
    """
    earlier = plan_of(dense)
    cut = set() if earlier is None else {name for name, (kept, of) in earlier.counts.items() if kept < of}
    batch = example_batch(small.config, *shape)  # its tokens exist in both models

    def measured(model: PreTrainedModel) -> Measured:
        active = count_active_parameters(model)
        flops, size = count_flops(model, batch), count_bytes(model)
        return Measured(count_parameters(model), flops, size, active_parameters=active)

    return Report(
        version=VERSION,
        family=plan.model_type,
        task=task_of(dense),
        criterion=plan.criterion,
        seed=plan.seed,
        samples=samples,
        kept=plan.counts,
        loads_in=loads_in(every_site(dense), plan.counts) if plan.token_map is None else "infoprune",
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
    """Return the report with metrics, and with the likeness of both models on evaluation inputs."""
    return replace(
        report,
        dense=replace(report.dense, metrics=comparison.dense),
        pruned=replace(report.pruned, metrics=comparison.small),
        agreement=comparison.agreement,
        kl=comparison.kl,
        correlation=comparison.correlation,
        squared_difference=comparison.squared_difference,
    )


def timed(report: Report, dense: PreTrainedModel, small: PreTrainedModel, *, repeats: int = 10) -> Report:
    """Return the report with latencies, measured side by side in alternating runs."""
    batch = example_batch(small.config, *report.shape)
    before, after = measure_latency([dense, small], batch, repeats=repeats)
    return replace(
        report, dense=replace(report.dense, latency_ms=before), pruned=replace(report.pruned, latency_ms=after)
    )
