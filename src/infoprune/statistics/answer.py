"""Answer: what a model says about its inputs, and by which law its numbers are to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.statistics.demand import Law

Pooling = Literal["mean", "cls"]
POOLINGS: tuple[Pooling, ...] = ("mean", "cls")
"""How the hidden states of all tokens become one embedding: their mean, or that of the first."""

CARRIED = "infoprune_pooling"


@dataclass(frozen=True)
class Answer:
    """The parameters of a distribution over the last axis, with gradient.

    Args:
        values: what is differentiated.
        law: "softmax" (one of several), "sigmoid" (any of several), "gaussian" (a number, or a point, with variance 1).
        counts: which of the distributions count: not those at padding; broadcasts over `values` but for the last axis.
    """

    values: Float[Tensor, "*batch k"]
    law: Law
    counts: Bool[Tensor, ...]

    @property
    def draws(self) -> int:
        """How many samples are enough: one where a distribution stands at every token, since these average out."""
        return 1 if self.values.ndim > 2 and self.counts.shape[-1] > 1 else 4


def answer_of(model: nn.Module, output: Mapping[str, Any], mask: Bool[Tensor, "batch length"]) -> Answer:
    """Reads a model's output.

    A class or a label by softmax or sigmoid, as config.problem_type says; one output is a regression; start and end of
    an answer are two softmaxes over the real tokens; a softmax at every token counts at the real ones; a model without
    a head answers with its embedding, the mean of its last hidden states over the real tokens scaled to length 1, or
    what `pool_by` has told it.

    Raises:
        InputError: the output has none of these, or is not finite.
    """
    answer = read_answer(model, output, mask)
    if not torch.isfinite(answer.values).all():
        raise InputError(
            "the model's answers are not finite on these inputs, expected finite numbers; "
            f"{remedy(answer.values.dtype)}, and look at the inputs"
        )
    return answer


def remedy(dtype: torch.dtype) -> str:
    """What to do about numbers that are not finite."""
    if dtype == torch.float16:
        return "float16 ends at 65,504: try the model in bfloat16 or float32"
    return "try the model in float32"


def read_answer(model: nn.Module, output: Mapping[str, Any], mask: Bool[Tensor, "batch length"]) -> Answer:
    """The same without a look at the values, which a model on the meta device does not have."""
    everything = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
    if "start_logits" in output:
        ends = torch.stack([output["start_logits"], output["end_logits"]], 1)
        return Answer(ends.masked_fill(~mask[:, None], torch.finfo(ends.dtype).min), "softmax", everything[:, None])
    if "logits" in output:
        logits: Tensor = output["logits"]
        problem = getattr(getattr(model, "config", None), "problem_type", None)
        law: Law = "softmax"
        if logits.shape[-1] == 1 or problem == "regression":
            law = "gaussian"
        elif problem == "multi_label_classification":
            law = "sigmoid"
        return Answer(logits, law, mask if logits.shape[:-1] == mask.shape else everything)
    if "last_hidden_state" in output:
        pooled = _pooled(output["last_hidden_state"], mask, pooling_of(model))
        return Answer(torch.nn.functional.normalize(pooled, dim=-1), "gaussian", everything)
    raise InputError(
        f"{type(model).__name__} gives {', '.join(output)}, expected logits or hidden states; "
        "load the class of its task"
    )


def embeds(model: PreTrainedModel) -> bool:
    """Whether a model has no head, and answers with an embedding."""
    return model.base_model is model


def pool_by(model: nn.Module, pooling: Pooling) -> None:
    """Tells a model without a head, and the copies that are made of it, how its embedding is made."""
    setattr(model, CARRIED, pooling)


def pooling_of(model: nn.Module) -> Pooling:
    """How a model without a head makes its embedding."""
    pooling: Pooling = getattr(model, CARRIED, "mean")
    return pooling


def _pooled(
    states: Float[Tensor, "batch length n"], mask: Bool[Tensor, "batch length"], pooling: Pooling
) -> Float[Tensor, "batch n"]:
    if pooling == "cls":
        return states[:, 0]
    weights = mask.expand(states.shape[:2])[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp_min(1)
