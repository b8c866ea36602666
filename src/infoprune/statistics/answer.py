"""Answer: the distribution that a model predicts for its inputs, with gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.statistics.fisher import EXACT_CLASSES, Law

Pooling = Literal["mean", "cls"]
POOLINGS: tuple[Pooling, ...] = ("mean", "cls")
"""How the hidden states of all tokens become one embedding: their mean, or the hidden state of the first token."""

CARRIED = "infoprune_pooling"
PROJECTED = ("text_embeds", "image_embeds")
"""Outputs of models that project texts and pictures to one space; one that reads both has two embeddings."""


@dataclass(frozen=True)
class Answer:
    """Parameters of the distributions that a model predicts, over the last axis, with gradient.

    Args:
        values: Logits or means; what is differentiated.
        law: Family of the distributions: "softmax" (one of several classes), "sigmoid" (any of several labels) or
            "gaussian" (a number, or a point, with variance 1).
        counts: Which of the distributions count: not those at padding. Broadcasts over `values` without its last axis.
    """

    values: Float[Tensor, "*batch k"]
    law: Law
    counts: Bool[Tensor, ...]

    @property
    def fisher_samples(self) -> int:
        """Number of directions that are enough: 1 where many tokens or many outputs average out, else 4.

        An embedding has hundreds of outputs, of which every input shows one random mixture: the inputs average out.
        """
        every_token = self.values.ndim > 2 and self.counts.shape[-1] > 1
        return 1 if every_token or (self.law == "gaussian" and self.values.shape[-1] > EXACT_CLASSES) else 4


def answer_of(model: nn.Module, output: Mapping[str, Any], mask: Bool[Tensor, "batch length"]) -> Answer:
    """Return the distribution that a model predicts, read from its output.

    A class or a label has a softmax or a sigmoid, as `config.problem_type` specifies. One output is a regression. Start
    and end of an answer are two softmaxes over the real tokens. A softmax at every token counts at the real ones. A
    model without a head has an embedding: the output that its family's table names, else its last hidden states,
    averaged over the real tokens; or pooled as `pool_by` has set. It is scaled to length 1. Of a text and a picture
    both embeddings count.

    Args:
        model: Model that gave the output.
        output: Output of its forward pass.
        mask: Which tokens are not padding, (batch, length).

    Raises:
        InputError: The output has none of these, or is not finite.
    """
    answer = read_answer(model, output, mask)
    if not torch.isfinite(answer.values).all():
        raise InputError(
            "the model's outputs are not finite on these inputs, expected finite numbers; "
            f"{remedy(answer.values.dtype)}, and check the inputs"
        )
    return answer


def remedy(dtype: torch.dtype) -> str:
    """Return the advice of error messages on numbers that are not finite."""
    if dtype == torch.float16:
        return "the largest number in float16 is 65,504: try the model in bfloat16 or float32"
    return "try the model in float32"


def read_answer(model: nn.Module, output: Mapping[str, Any], mask: Bool[Tensor, "batch length"]) -> Answer:
    """Return the same as `answer_of` without checking the values, which a model on the meta device does not have."""
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
    points = [output[name] for name in PROJECTED if output.get(name) is not None] or _embedding(model, output, mask)
    if points:
        together = torch.cat([torch.nn.functional.normalize(point, dim=-1) for point in points], dim=-1)
        return Answer(together, "gaussian", everything)
    raise InputError(
        f"{type(model).__name__} gives {', '.join(output)}, expected logits or hidden states; "
        "load the class of its task"
    )


def _embedding(model: nn.Module, output: Mapping[str, Any], mask: Bool[Tensor, "batch length"]) -> list[Tensor]:
    """Return the embedding that a model without a head gives, before it is scaled; none where it gives no states."""
    named = output.get(_embedding_name(model) or "")
    if named is not None and CARRIED not in vars(model):
        return [named]
    states = output.get("last_hidden_state")
    return [] if states is None else [_pooled(states, mask, pooling_of(model))]


def _embedding_name(model: nn.Module) -> str | None:
    """Return the name of the output that is the embedding, where the table of the model's family has one."""
    family = FAMILIES.get(getattr(getattr(model, "config", None), "model_type", ""))
    return None if family is None else family.embedding


def embeds(model: PreTrainedModel) -> bool:
    """Return whether a model has no head, so that its output is an embedding, projected or not."""
    return model.base_model is model or (_embedding_name(model) is not None and "For" not in type(model).__name__)


def pool_by(model: nn.Module, pooling: Pooling) -> None:
    """Set how a model without a head, and every copy of it, pools its hidden states into an embedding."""
    setattr(model, CARRIED, pooling)


def pooling_of(model: nn.Module) -> Pooling:
    """Return how a model without a head pools its hidden states into an embedding."""
    pooling: Pooling = getattr(model, CARRIED, "mean")
    return pooling


def _pooled(
    states: Float[Tensor, "batch length n"], mask: Bool[Tensor, "batch _"], pooling: Pooling
) -> Float[Tensor, "batch n"]:
    if pooling == "cls":
        return states[:, 0]
    weights = mask.expand(states.shape[:2])[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp_min(1)
