"""Preview: the sizes and inputs of a cut that are known before the work begins."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from infoprune.budgets.budget import Keep
from infoprune.budgets.shape import share_counts
from infoprune.jobs.cut import Cut
from infoprune.jobs.inputs import Batches
from infoprune.pipeline.options import shape_of
from infoprune.plan import VOCABULARY, plan_of
from infoprune.processes import total
from infoprune.statistics.calibration import real_tokens
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import every_site, find_sites
from infoprune.structure.stock import loads_in
from infoprune.tasks.table import task_of


@dataclass(frozen=True)
class Preview:
    """Model, inputs and sizes of a cut before the work begins.

    Args:
        family: The model_type.
        task: Task of the model.
        inputs: Number of inputs by which the units are chosen.
        tokens: Number of their tokens, without padding; of pictures and clips, whose tokens the model makes, as many.
        kept: (units kept, of) for every site that will be cut; empty where a budget or a search determines it.
        loads_in: "transformers" or "infoprune": what has to be imported to load the result.
    """

    family: str
    task: str
    inputs: int
    tokens: int
    kept: dict[str, tuple[int, int]]
    loads_in: str


def preview(model: PreTrainedModel, batches: Batches, cut: Cut, given: Statistics | None) -> Preview:
    """Return the preview of a cut of a model whose vocabulary is already cut.

    Args:
        model: Model to cut.
        batches: Calibration inputs of this process.
        cut: Options of the cut.
        given: Statistics by which the units are chosen, instead of those of the batches.
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
        inputs=inputs if given is None else given.inputs,
        tokens=tokens if given is None else given.tokens,
        kept=kept,
        loads_in=opens_in(model, cut),
    )


def opens_in(model: PreTrainedModel, cut: Cut) -> str:
    """Return what has to be imported to load a model after a cut of its layers: "transformers" or "infoprune"."""
    plan = plan_of(model)
    if plan is not None and plan.token_map is not None:
        return "infoprune"
    if _is_free(cut):
        return "infoprune" if cut.settings.shape == "free" else "transformers"
    # Units that earlier cuts removed count as well.
    earlier = {} if plan is None else plan.counts
    now = {name: (left, earlier.get(name, (of, of))[1]) for name, (left, of) in _kept(model, cut).items()}
    return loads_in(every_site(model), {**earlier, **now})


def _is_free(cut: Cut) -> bool:
    """Return whether the sizes are known only after the work."""
    return cut.layers != () and not isinstance(cut.size, Keep)


def _kept(model: PreTrainedModel, cut: Cut) -> dict[str, tuple[int, int]]:
    """Return (kept, of) for the sites in the layers, where the sizes are known."""
    if cut.layers == () or not isinstance(cut.size, Keep):
        return {}
    structures, shape = shape_of(model, cut.layers, cut.settings)
    counts = share_counts(model, structures, cut.size.share, shape)
    return {site.name: (counts[site.name], site.units) for site in find_sites(model, structures)}
