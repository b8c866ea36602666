"""What is known of a cut before the work begins."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from infoprune.budgets.shape import share_counts
from infoprune.compress import shape_of
from infoprune.jobs.cut import Cut
from infoprune.jobs.inputs import Batches
from infoprune.plan import VOCABULARY, plan_of
from infoprune.processes import total
from infoprune.statistics.calibration import real_tokens
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import every_site, find_sites
from infoprune.structure.stock import loads_in
from infoprune.tasks.table import task_of


@dataclass(frozen=True)
class Preview:
    """What is known before the work begins.

    Args:
        family: the model_type.
        task: what the model is for.
        texts: that the units are chosen on.
        tokens: of these, without padding.
        kept: (units kept, of) for every site that will be cut; empty where a budget or a search will tell.
        loads_in: "transformers" or "infoprune": what will open the result.
    """

    family: str
    task: str
    texts: int
    tokens: int
    kept: dict[str, tuple[int, int]]
    loads_in: str


def preview(model: PreTrainedModel, batches: Batches, cut: Cut, given: Statistics | None) -> Preview:
    """Of a cut of a model, whose vocabulary is cut already.

    Args:
        model: that is cut.
        batches: this process's calibration inputs.
        cut: what is to be cut.
        given: statistics to choose the units by, instead of those of the batches.
    """
    plan = plan_of(model)
    kept = _kept(model, cut)
    if plan is not None and cut.tokens is not None and not _is_free(cut):
        kept[VOCABULARY] = plan.counts[VOCABULARY]
    masks = [real_tokens(batch) for batch in batches]
    inputs, tokens = total(sum(len(mask) for mask in masks), sum(int(mask.sum()) for mask in masks))
    return Preview(
        family=model.config.model_type,
        task=task_of(model),
        texts=inputs if given is None else given.inputs,
        tokens=tokens if given is None else given.tokens,
        kept=kept,
        loads_in=opens_in(model, cut),
    )


def opens_in(model: PreTrainedModel, cut: Cut) -> str:
    """What will open a model after a cut of its layers: "transformers" or "infoprune"."""
    plan = plan_of(model)
    if plan is not None and plan.stand_ins is not None:
        return "infoprune"
    if _is_free(cut):
        return "infoprune" if cut.settings.shape == "free" else "transformers"
    # What was cut away before this cut counts as well.
    earlier = {} if plan is None else plan.counts
    now = {name: (left, earlier.get(name, (of, of))[1]) for name, (left, of) in _kept(model, cut).items()}
    return loads_in(every_site(model), {**earlier, **now})


def _is_free(cut: Cut) -> bool:
    """Whether the sizes are not known before the work is done."""
    return cut.budget is not None or cut.tolerance is not None


def _kept(model: PreTrainedModel, cut: Cut) -> dict[str, tuple[int, int]]:
    """(kept, of) of the sites in the layers, as far as it is known."""
    if cut.layers == () or _is_free(cut):
        return {}
    kinds, shape = shape_of(model, cut.layers, cut.settings)
    counts = share_counts(model, kinds, cut.share, shape)
    return {site.name: (counts[site.name], site.units) for site in find_sites(model, kinds)}
