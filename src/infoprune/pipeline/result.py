"""Result: what `prune` returns."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from infoprune.plan import Plan
from infoprune.reports.report import Report


@dataclass(frozen=True)
class Result:
    """Smaller model, its plan and its report.

    Args:
        model: The smaller model, in the mode of the original; `infoprune.save` writes it.
        plan: The units that were kept, counted from the original model.
        report: Parameters, FLOPs, bytes and seconds; scores, where evaluation batches were given.

    Examples:
        >>> result = infoprune.prune(model, batches, keep=0.5)
        >>> infoprune.save(result.model, "half", tokenizer)
        >>> result.report.loads_in
        'infoprune'
    """

    model: PreTrainedModel
    plan: Plan
    report: Report
