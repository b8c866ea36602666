"""Lesson: the loss of a student against a teacher, as a module that a Trainer can train."""

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
"""Batches from which the maps between unlike widths start, and by which the learning rate is chosen."""

T = TypeVar("T")

ROOM = 1 << 32
"""Bytes of the teacher's answers that are remembered at most, so that what comes again need not be asked again."""


class Teacher:
    """What a model answers, and passes through on the way; asked once for each batch, while there is room to remember.

    Args:
        model: in evaluation mode.
        room: bytes to remember; None means 4 GiB, but no more than a quarter of the machine's memory.
    """

    def __init__(self, model: PreTrainedModel, room: int | None = None) -> None:
        self.model = model
        self._room = min(ROOM, psutil.virtual_memory().total // 4) if room is None else room
        self._known: dict[int, tuple[Tensor, ...]] = {}

    def answer(self, number: int | None, batch: Batch, *, deep: bool) -> tuple[Tensor, ...]:
        """What it says to the batch of that number and, if `deep`, its hidden states; on the CPU.

        A batch without a number comes once, and is not remembered.

        Hidden states are rounded to bfloat16, remembered or not, so that the answers do not depend on the room.
        """
        if number is not None and number in self._known:
            return self._known[number]
        with torch.no_grad():
            inputs = model_inputs(batch, next(self.model.parameters()).device)
            told = self.model(**inputs, output_hidden_states=deep)
            values = answer_of(self.model, told, _mask(batch, inputs)).values
        states = told["hidden_states"] if deep else ()
        answer = (values.float().cpu(), *(state.to(torch.bfloat16).cpu() for state in states))
        size = sum(tensor.nbytes for tensor in answer)
        if number is not None and size <= self._room:
            self._room -= size
            self._known[number] = answer
        return answer


class Lesson(nn.Module):
    """A student with its teacher, of any task that `answer_of` can read: the forward gives the loss.

    In training mode the loss is what `distill` says; in evaluation mode the KL divergence at the answers alone,
    in nats.

    Args:
        student: is trained.
        teacher: is not, and is no part of this module's parameters or state.
        batches: to start the maps between unlike widths from.
        temperature: of the softmaxes in training.
        hidden: weight of the hidden states.
        labels: weight of the labels.
    """

    _keys_to_ignore_on_save = None  # the Trainer asks for it when it loads a state in which tied weights are once

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

    def train(self, mode: bool = True) -> Lesson:
        """Training without dropout: the answers that are to be met were given without."""
        super().train(False)
        self.training = mode
        return self

    def forward(self, number: int | None, batch: Batch, return_loss: bool = True) -> dict[str, Tensor]:
        """The loss on the batch of that number. `return_loss` tells the Trainer that there is one without labels."""
        device = next(self.student.parameters()).device
        inputs = model_inputs(batch, device)
        mask, deep = _mask(batch, inputs), self.training and self._hidden > 0
        wanted, *states = (told.to(device) for told in self._teacher.answer(number, batch, deep=deep))
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
        """Whether the teacher has no head, and answers with an embedding."""
        return embeds(self._teacher.model)

    def decides(self, number: int, batch: Batch) -> bool:
        """Whether the teacher's head gives one answer for an input: not one for every token or for start and end."""
        return not self.embeds and self._teacher.answer(number, batch, deep=True)[0].ndim == 2

    def missed(self, number: int, batch: Batch) -> float:
        """The share of the variance of the teacher's hidden states that the student's miss on the batch of that number.

        The mean over layers: 0 where all are alike, 1 where the student's say no more than their mean would.
        """
        inputs = model_inputs(batch, next(self.student.parameters()).device)
        _, *states = self._teacher.answer(number, batch, deep=True)
        with torch.no_grad():
            ours = self.student(**inputs, output_hidden_states=True)["hidden_states"]
            return float(self._unlikeness(ours, [state.to(ours[0].device) for state in states], _mask(batch, inputs)))

    def _unlikeness(self, ours: Sequence[Tensor], theirs: Sequence[Tensor], mask: Bool[Tensor, "b t"]) -> Tensor:
        """Mean over layers of the share of the teacher's variance that the student's hidden states miss."""
        missed = []
        for map_, (g, h) in zip(self.maps, matched(ours, theirs), strict=True):
            real = mask.expand(h.shape[:2])
            wanted = h[real].float()
            spread = (wanted - wanted.mean(0)).square().sum()
            missed.append((map_(g[real].float()).float() - wanted).square().sum() / spread.clamp_min(1e-12))
        return torch.stack(missed).mean()


def sample(batches: Sequence[T]) -> Sequence[T]:
    """Some of them, evenly spread."""
    return batches[:: -(-len(batches) // SAMPLE)]


def _mask(batch: Batch, inputs: Mapping[str, Tensor]) -> Bool[Tensor, "batch length"]:
    return real_tokens(batch).to(next(iter(inputs.values())).device)


def _tied_once(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Leaves tied weights in a state once: safetensors takes no tensor twice."""
    seen: set[int] = set()
    for name in list(state):
        if state[name].data_ptr() in seen:
            del state[name]
        else:
            seen.add(state[name].data_ptr())


def divergence(ours: Answer, wanted: Float[Tensor, "*batch k"], temperature: float = 1.0) -> Tensor:
    """KL(wanted || ours) in nats, the mean over the answers that count.

    Where answers are classes or labels, both are softened by the temperature T and the result is multiplied by T^2, so
    that its gradient keeps its size. Numbers are means of normal distributions of variance 1, which gives half the
    squared distance.
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
    """The output of every layer of the student with that of the teacher's layer at the same height."""
    layers, whole = len(ours) - 1, len(theirs) - 1
    return [(ours[i], theirs[round(i * whole / layers)]) for i in range(1, layers + 1)]


def _maps(student: PreTrainedModel, teacher: PreTrainedModel, batches: Sequence[Batch]) -> list[nn.Module]:
    """For every layer the identity, or the linear map that is best before training where the widths differ.

    The widths are those of the hidden states themselves: a config has one for all layers.
    """
    student.eval()
    with torch.no_grad():
        widths = [(g.shape[-1], h.shape[-1]) for g, h in _both(student, teacher, batches[0])]
        unlike = [layer for layer, (width, whole) in enumerate(widths) if width != whole]
        seen: dict[int, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in unlike}
        for batch in batches if unlike else ():
            pairs = _both(student, teacher, batch)
            for layer in unlike:
                g, h = (state.cpu() for state in pairs[layer])
                real = real_tokens(batch).expand(h.shape[:2]).cpu()
                seen[layer].append((g[real].double(), h[real].double()))
    device = next(student.parameters()).device
    maps: list[nn.Module] = [nn.Identity() for _ in widths]
    for layer in unlike:
        maps[layer] = _least_squares(*(torch.cat(side) for side in zip(*seen[layer], strict=True))).to(device)
    return maps


def _least_squares(g: Float[Tensor, "n width"], h: Float[Tensor, "n whole"]) -> nn.Linear:
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
