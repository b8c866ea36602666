"""Distillation loss: the loss of a student against a teacher, as a module that a Trainer can train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import psutil
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from infoprune.statistics.answer import Answer, answer_of, embeds
from infoprune.statistics.calibration import Batch, model_inputs, real_tokens

SAMPLE = 16
"""Batches that initialise the maps between different hidden sizes and determine the learning rate."""

T = TypeVar("T")

ROOM = 1 << 32
"""Largest size in bytes of the cached teacher outputs; they save the forward pass of repeated batches."""


class Teacher:
    """Outputs and hidden states of a model, computed once for each batch while the cache has room.

    Args:
        model: Model in evaluation mode.
        room: Size of the cache in bytes; None means 4 GiB, but no more than a quarter of the machine's memory.
    """

    def __init__(self, model: PreTrainedModel, room: int | None = None) -> None:
        self.model = model
        self._room = min(ROOM, psutil.virtual_memory().total // 4) if room is None else room
        self._known: dict[int, tuple[Tensor, ...]] = {}

    def answer(self, number: int | None, batch: Batch, *, deep: bool) -> tuple[Tensor, ...]:
        """Return the output for the batch with that number and, if `deep`, the hidden states; on the CPU.

        A batch without a number occurs once and is not cached. Hidden states are rounded to bfloat16, cached or not, so
        that results do not depend on the size of the cache.
        """
        if number is not None and number in self._known:
            return self._known[number]
        with torch.no_grad():
            inputs = model_inputs(batch, next(self.model.parameters()).device)
            output = self.model(**inputs, output_hidden_states=deep)
            values = answer_of(self.model, output, _mask(batch, inputs)).values
        states = output["hidden_states"] if deep else ()
        answer = (values.float().cpu(), *(state.to(torch.bfloat16).cpu() for state in states))
        size = sum(tensor.nbytes for tensor in answer)
        if number is not None and size <= self._room:
            self._room -= size
            self._known[number] = answer
        return answer


class DistillationLoss(nn.Module):
    """Student with its teacher, of any task that `answer_of` supports; the forward pass returns the loss.

    In training mode the loss is that of `distill`; in evaluation mode it is the KL divergence of the outputs alone, in
    nats.

    Args:
        student: Model to train.
        teacher: Model that is not trained; no part of this module's parameters or state.
        batches: Batches that initialise the maps between different hidden sizes.
        temperature: Temperature of the softmaxes in training.
        hidden: Weight of the loss on hidden states.
        labels: Weight of the cross-entropy with the labels.
    """

    _keys_to_ignore_on_save = None  # the Trainer reads it when it loads a state that holds tied weights once

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        batches: Sequence[Batch],
        temperature: float,
        hidden: float,
        labels: float,
    ) -> None:
        super().__init__()
        self.student = student
        self._teacher = Teacher(teacher)
        self._temperature, self._hidden, self._labels = temperature, hidden, labels
        self.register_state_dict_post_hook(_tied_once)  # type: ignore[no-untyped-call]
        self.maps = nn.ModuleList(_maps(student, teacher, sample(batches)))

    def train(self, mode: bool = True) -> DistillationLoss:
        """Set training mode without dropout: the teacher's outputs have none."""
        super().train(False)
        self.training = mode
        return self

    def forward(self, number: int | None, batch: Batch, return_loss: bool = True) -> dict[str, Tensor]:
        """Return the loss on the batch with that number; `return_loss` shows the Trainer that it needs no labels."""
        device = next(self.student.parameters()).device
        inputs = model_inputs(batch, device)
        mask, deep = _mask(batch, inputs), self.training and self._hidden > 0
        wanted, *states = (output.to(device) for output in self._teacher.answer(number, batch, deep=deep))
        labels = batch.get("labels") if self.training and self._labels > 0 else None
        known = {} if labels is None else {"labels": labels.to(device)}
        output = self.student(**inputs, **known, output_hidden_states=deep)
        loss = divergence(answer_of(self.student, output, mask), wanted, self._temperature if self.training else 1)
        if deep:
            loss = loss + self._hidden * self._unlikeness(output["hidden_states"], states, mask)
        if labels is not None:
            loss = loss + self._labels * output["loss"]
        return {"loss": loss}

    @property
    def embeds(self) -> bool:
        """Whether the teacher has no head and outputs an embedding."""
        return embeds(self._teacher.model)

    def decides(self, number: int, batch: Batch) -> bool:
        """Return whether the teacher's head gives one output for an input: not one for every token or start and end."""
        return not self.embeds and self._teacher.answer(number, batch, deep=True)[0].ndim == 2

    def missed(self, number: int, batch: Batch) -> float:
        """Return the share of the variance of the teacher's hidden states that the student misses on a batch.

        The mean over layers: 0 where all are equal, 1 where the student's states predict no more than their mean would.
        """
        inputs = model_inputs(batch, next(self.student.parameters()).device)
        _, *states = self._teacher.answer(number, batch, deep=True)
        with torch.no_grad():
            ours = self.student(**inputs, output_hidden_states=True)["hidden_states"]
            return float(self._unlikeness(ours, [state.to(ours[0].device) for state in states], _mask(batch, inputs)))

    def _unlikeness(self, ours: Sequence[Tensor], theirs: Sequence[Tensor], mask: Bool[Tensor, "b t"]) -> Tensor:
        """Return the mean over layers of the share of the teacher's variance that the student's hidden states miss."""
        missed = []
        for map_, (g, h) in zip(self.maps, matched(ours, theirs), strict=True):
            real = mask.expand(h.shape[:2])
            wanted = h[real].float()
            spread = (wanted - wanted.mean(0)).square().sum()
            missed.append((map_(g[real].float()).float() - wanted).square().sum() / spread.clamp_min(1e-12))
        return torch.stack(missed).mean()


def sample(batches: Sequence[T]) -> Sequence[T]:
    """Return at most SAMPLE batches, evenly spread."""
    return batches[:: -(-len(batches) // SAMPLE)]


def _mask(batch: Batch, inputs: Mapping[str, Tensor]) -> Bool[Tensor, "batch length"]:
    return real_tokens(batch).to(next(iter(inputs.values())).device)


def _tied_once(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Keep tied weights in a state once: safetensors stores no tensor twice."""
    seen: set[int] = set()
    for name in list(state):
        if state[name].data_ptr() in seen:
            del state[name]
        else:
            seen.add(state[name].data_ptr())


def divergence(ours: Answer, wanted: Float[Tensor, "*batch k"], temperature: float = 1.0) -> Tensor:
    """Return KL(wanted || ours) in nats, the mean over the outputs that count.

    For classes and labels the temperature T divides both logits and the result is multiplied by T^2, so that the
    gradient keeps its size. Numbers are means of normal distributions of variance 1, which gives half the squared
    distance.
    """
    counts = ours.counts.expand(ours.values.shape[:-1])
    q, p = ours.values[counts].float(), wanted[counts].float()
    if ours.law == "gaussian":
        return (q - p).square().sum(-1).mean() / 2
    if ours.law == "sigmoid":
        q, p = (torch.stack([z / 2, -z / 2], dim=-1) for z in (q, p))
    log_q, log_p = (q / temperature).log_softmax(-1), (p / temperature).log_softmax(-1)
    return temperature**2 * functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def matched(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pair the output of every layer of the student with that of the teacher's layer at the same relative depth."""
    layers, whole = len(ours) - 1, len(theirs) - 1
    return [(ours[i], theirs[round(i * whole / layers)]) for i in range(1, layers + 1)]


def _maps(student: PreTrainedModel, teacher: PreTrainedModel, batches: Sequence[Batch]) -> list[nn.Module]:
    """Return the identity for every layer, or the least-squares linear map where the hidden sizes differ.

    The hidden sizes are those of the hidden states themselves: a config has one for all layers.
    """
    student.eval()
    with torch.no_grad():
        hidden_sizes = [(g.shape[-1], h.shape[-1]) for g, h in _both(student, teacher, batches[0])]
        unlike = [layer for layer, (size, whole) in enumerate(hidden_sizes) if size != whole]
        seen: dict[int, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in unlike}
        for batch in batches if unlike else ():
            pairs = _both(student, teacher, batch)
            for layer in unlike:
                g, h = (state.cpu() for state in pairs[layer])
                real = real_tokens(batch).expand(h.shape[:2]).cpu()
                seen[layer].append((g[real].double(), h[real].double()))
    device = next(student.parameters()).device
    maps: list[nn.Module] = [nn.Identity() for _ in hidden_sizes]
    for layer in unlike:
        maps[layer] = _least_squares(*(torch.cat(side) for side in zip(*seen[layer], strict=True))).to(device)
    return maps


def _least_squares(g: Float[Tensor, "n size"], h: Float[Tensor, "n whole"]) -> nn.Linear:
    gram = g.T @ g
    ridge = 1e-2 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    map_ = nn.Linear(g.shape[1], h.shape[1], bias=False)
    map_.weight.data = torch.linalg.solve(gram + ridge, g.T @ h).T.float().contiguous()
    return map_


def _both(student: PreTrainedModel, teacher: PreTrainedModel, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    return matched(_hidden(student, batch), _hidden(teacher, batch))


def _hidden(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    inputs = model_inputs(batch, next(model.parameters()).device)
    states: tuple[Tensor, ...] = model(**inputs, output_hidden_states=True)["hidden_states"]
    return states
