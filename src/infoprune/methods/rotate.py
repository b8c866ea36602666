"""Rotate: write the residual stream in another basis, without a change of the model's answers."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import HIDDEN_SIZE
from infoprune.statistics.precision import exact
from infoprune.structure.linear import linear
from infoprune.structure.offload import load_into_memory
from infoprune.structure.sites import every_site
from infoprune.structure.stream import Stream

ROUNDING = 0.02
"""Relative tolerance between a norm and the formula, for its epsilon and bfloat16."""


def rotatable_stream(model: PreTrainedModel) -> Stream:
    """Return the residual stream of a model that can be rotated: a decoder whose norms are RMSNorms.

    Raises:
        InputError: The hidden size of the model cannot be cut, it has an encoder, or a norm is no RMSNorm.
    """
    stream = next((site.residual for site in every_site(model) if site.name == HIDDEN_SIZE), None)
    if stream is None or model.config.is_encoder_decoder:
        raise InputError(
            f"the residual stream of this {model.config.model_type} cannot be rotated, expected a decoder alone whose "
            "hidden size can be cut (infoprune families), such as Llama; choose a method that cuts neurons and heads"
        )
    for point in stream.read_points:
        if point.norm is None or not _divides_by_root_mean_square(model.get_submodule(point.norm), stream.hidden_size):
            raise InputError(
                f"the residual stream of this {model.config.model_type} cannot be rotated: what {point.modules[0]} "
                "reads is not an RMSNorm of it, expected x / sqrt(mean x^2) times a gain, as in Llama; "
                "choose a method that cuts neurons and heads"
            )
    return stream


def fold_norms(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy with the same outputs whose norms have gain 1: the readers' weights take over the gains.

    The output layer is no longer tied to the embeddings, which have no norm below them.

    Raises:
        InputError: The stream cannot be rotated.
    """
    folded = load_into_memory(copy.deepcopy(model))
    stream = rotatable_stream(folded)
    for path in stream.tied:
        reader = linear(folded, path)
        reader.module.weight = nn.Parameter(reader.weight.clone(), reader.module.weight.requires_grad)
        folded.config.tie_word_embeddings = False
    for point in stream.read_points:
        gain = exact(_gain(folded, point.norm))
        for path in point.modules:
            weight = linear(folded, path).weight
            weight.copy_(exact(weight) * gain)
    set_gains(folded, stream, 1.0)
    return folded


def rotate(model: PreTrainedModel, basis: Float[Tensor, "n n"]) -> PreTrainedModel:
    r"""Return a copy with the same outputs whose stream is x Q: embeddings E Q, writers Q^T W and Q^T b, readers W Q.

    A norm without gain commutes with Q, since |x Q| = |x|.

    Args:
        model: A model from `fold_norms`.
        basis: Orthogonal matrix Q, (n, n), whose columns are the directions that become coordinates.

    Source:
        S. Ashkboos et al., *SliceGPT: compress large language models by deleting rows and columns*, ICLR 2024,
        theorem 1.
    """
    stream = rotatable_stream(model)
    turned = copy.deepcopy(model)
    norms = {point.norm for point in stream.read_points}
    for path in stream.tables:
        for parameter in turned.get_submodule(path).parameters(recurse=False) if path not in norms else ():
            _turn(parameter.detach(), basis)
    for path in stream.writers:
        writer = linear(turned, path)
        _turn(writer.weight.T, basis)
        if writer.bias is not None:
            _turn(writer.bias, basis)
    for path in stream.readers:
        _turn(linear(turned, path).weight, basis)
    return turned


def set_gains(model: PreTrainedModel, stream: Stream, gain: float) -> None:
    """Set the gain of all norms of a stream, in place."""
    for point in stream.read_points:
        _gain(model, point.norm).fill_(gain)


def _turn(rows: Float[Tensor, "... n"], basis: Float[Tensor, "n n"]) -> None:
    values = exact(rows)
    rows.copy_(values @ exact(basis).to(values.device))


def _gain(model: nn.Module, norm: str | None) -> Tensor:
    weight: Tensor = model.get_submodule(norm or "").get_parameter("weight")
    return weight.detach()


def _divides_by_root_mean_square(norm: nn.Module, hidden_size: int) -> bool:
    """Return whether a norm is an RMSNorm, by its output for a vector, since families have classes of their own."""
    parameters = dict(norm.named_parameters(recurse=False))
    if [*parameters] != ["weight"]:
        return False
    weight = parameters["weight"].detach()
    x = torch.linspace(-1, 2, hidden_size, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        found = exact(norm(x))
    wanted = exact(weight) * exact(x) / exact(x).square().mean().sqrt()
    return bool(torch.allclose(found, wanted, rtol=ROUNDING, atol=0))
