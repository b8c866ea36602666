"""Lesson: the loss of a student against a teacher, as a module that a Trainer can train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from infoprune.calibration import Batch, model_inputs, real_tokens

SAMPLE = 16
"""Batches from which the maps between unlike widths start."""


ROOM = 1 << 30
"""Bytes of the teacher's answers that are remembered, so that an epoch after the first need not ask again."""


class Teacher:
    """What a model answers, and passes through on the way; asked once for each batch, while there is room to remember.

    Args:
        model: in evaluation mode.
        room: bytes to remember.
    """

    def __init__(self, model: PreTrainedModel, room: int = ROOM) -> None:
        self.model = model
        self._room = room
        self._known: dict[int, tuple[Tensor, ...]] = {}

    def answer(self, number: int, batch: Batch, *, deep: bool) -> tuple[Tensor, ...]:
        """Logits and, if `deep`, the hidden states, of the batch of that number; on the CPU.

        Hidden states are rounded to bfloat16, remembered or not, so that the answers do not depend on the room.
        """
        if number in self._known:
            return self._known[number]
        with torch.no_grad():
            device = next(self.model.parameters()).device
            told = self.model(**model_inputs(batch, device), output_hidden_states=deep)
        states = told.hidden_states if deep else ()
        answer = (told.logits.float().cpu(), *(state.to(torch.bfloat16).cpu() for state in states))
        size = sum(tensor.nbytes for tensor in answer)
        if size <= self._room:
            self._room -= size
            self._known[number] = answer
        return answer


class Lesson(nn.Module):
    """A student with its teacher: the forward gives the loss, in nats an input where only logits are compared.

    In training mode the loss is what `distill` says; in evaluation mode the KL divergence at the answers alone.

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
        self.maps = nn.ModuleList(_maps(student, teacher, batches[:: -(-len(batches) // SAMPLE)]) if hidden else ())

    def train(self, mode: bool = True) -> Lesson:
        """Training without dropout: the answers that are to be met were given without."""
        super().train(False)
        self.training = mode
        return self

    def forward(self, number: int, batch: Batch, return_loss: bool = True) -> dict[str, Tensor]:
        """The loss on the batch of that number. `return_loss` tells the Trainer that there is one without labels."""
        device = next(self.student.parameters()).device
        mask = real_tokens(batch).to(device)
        deep = self.training and self._hidden > 0
        logits, *states = (told.to(device) for told in self._teacher.answer(number, batch, deep=deep))
        labels = batch.get("labels") if self.training and self._labels > 0 else None
        known = {} if labels is None else {"labels": labels.to(device)}
        answer = self.student(**model_inputs(batch, device), **known, output_hidden_states=deep)
        kind = getattr(self.student.config, "problem_type", None)
        loss = divergence(answer.logits, logits, mask, self._temperature if self.training else 1, kind)
        if deep:
            loss = loss + self._hidden * self._unlikeness(answer.hidden_states, states, mask)
        if labels is not None:
            loss = loss + self._labels * answer.loss
        return {"loss": loss}

    def _unlikeness(self, ours: Sequence[Tensor], theirs: Sequence[Tensor], mask: Bool[Tensor, "b t"]) -> Tensor:
        """Mean over layers of the share of the teacher's variance that the student's hidden states miss."""
        missed = []
        for map_, (g, h) in zip(self.maps, matched(ours, theirs), strict=True):
            wanted = h[mask].float()
            spread = (wanted - wanted.mean(0)).square().sum()
            missed.append((map_(g[mask].float()).float() - wanted).square().sum() / spread.clamp_min(1e-12))
        return torch.stack(missed).mean()


def _tied_once(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Leaves tied weights in a state once: safetensors takes no tensor twice."""
    seen: set[int] = set()
    for name in list(state):
        if state[name].data_ptr() in seen:
            del state[name]
        else:
            seen.add(state[name].data_ptr())


def divergence(
    ours: Float[Tensor, "*batch classes"],
    theirs: Float[Tensor, "*batch classes"],
    mask: Bool[Tensor, "b t"],
    temperature: float = 1.0,
    problem_type: str | None = None,
) -> Tensor:
    """T^2 KL(theirs || ours) of the answers at a temperature, in nats: mean over inputs, or tokens where each answers.

    For a single output it is the mean squared difference; where several classes may hold at once (problem_type
    "multi_label_classification") each class is a distribution of its own, and their divergences add up.
    """
    q, p = ours.float(), theirs.float()
    if q.ndim == 3:
        q, p = q[mask], p[mask]
    if q.shape[-1] == 1:
        return functional.mse_loss(q, p)
    if problem_type == "multi_label_classification":
        q, p = (torch.stack([z / 2, -z / 2], dim=-1) for z in (q, p))
    log_q, log_p = (q / temperature).log_softmax(-1), (p / temperature).log_softmax(-1)
    return temperature**2 * functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def matched(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The output of every layer of the student with that of the teacher's layer at the same height."""
    layers, whole = len(ours) - 1, len(theirs) - 1
    return [(ours[i], theirs[round(i * whole / layers)]) for i in range(1, layers + 1)]


def _maps(student: PreTrainedModel, teacher: PreTrainedModel, batches: Sequence[Batch]) -> list[nn.Module]:
    """For every layer the identity, or the linear map that is best before training where the widths differ."""
    width, whole = student.config.hidden_size, teacher.config.hidden_size
    layers = range(student.config.num_hidden_layers)
    if width == whole:
        return [nn.Identity() for _ in layers]
    pairs: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
    device = next(student.parameters()).device
    student.eval()
    with torch.no_grad():
        for batch in batches:
            mask = real_tokens(batch)
            both = [_hidden(model, batch) for model in (student, teacher)]
            for pair, (g, h) in zip(pairs, matched(*both), strict=True):
                pair.append((g[mask.to(g.device)].double().cpu(), h[mask.to(h.device)].double().cpu()))
    maps: list[nn.Module] = []
    for pair in pairs:
        g, h = (torch.cat(side) for side in zip(*pair, strict=True))
        gram = g.T @ g
        ridge = 1e-2 * gram.diagonal().mean() * torch.eye(width, dtype=gram.dtype)
        map_ = nn.Linear(width, whole, bias=False)
        map_.weight.data = torch.linalg.solve(gram + ridge, g.T @ h).T.float().contiguous()
        maps.append(map_.to(device))
    return maps


def _hidden(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    inputs = model_inputs(batch, next(model.parameters()).device)
    states: tuple[Tensor, ...] = model(**inputs, output_hidden_states=True).hidden_states
    return states
