"""Rotate: the residual stream in another basis, in which the model answers as before."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.plan import WIDTH
from infoprune.statistics.precision import exact
from infoprune.structure.linear import linear
from infoprune.structure.offload import bring_home
from infoprune.structure.sites import every_site
from infoprune.structure.stream import Stream

ROUNDING = 0.02
"""By which a norm may differ from the formula: its epsilon, and bfloat16."""


def rotatable_stream(model: PreTrainedModel) -> Stream:
    """The residual stream of a model that can be rotated: a decoder whose norms divide by the root of the mean square.

    Raises:
        InputError: the width of the model cannot be cut, it has an encoder, or a norm does something else.
    """
    stream = next((site.residual for site in every_site(model) if site.name == WIDTH), None)
    if stream is None or model.config.is_encoder_decoder:
        raise InputError(
            f"the residual stream of this {model.config.model_type} cannot be rotated, expected a decoder alone whose "
            "width can be cut (infoprune families), such as Llama; choose a method that cuts neurons and heads"
        )
    for place in stream.places:
        if place.norm is None or not _divides_by_root_mean_square(model.get_submodule(place.norm), stream.width):
            raise InputError(
                f"the residual stream of this {model.config.model_type} cannot be rotated: what {place.modules[0]} "
                "reads is not an RMSNorm of it, expected x / sqrt(mean x^2) times a gain, as in Llama; "
                "choose a method that cuts neurons and heads"
            )
    return stream


def fold_norms(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that answers the same, whose norms have gain one: every reader takes over the gain of what it reads.

    The output layer is no longer tied to the embeddings, which have no norm below them.

    Raises:
        InputError: the stream cannot be rotated.
    """
    folded = bring_home(copy.deepcopy(model))
    stream = rotatable_stream(folded)
    for path in stream.tied:
        reader = linear(folded, path)
        reader.module.weight = nn.Parameter(reader.weight.clone(), reader.module.weight.requires_grad)
        folded.config.tie_word_embeddings = False
    for place in stream.places:
        gain = exact(_gain(folded, place.norm))
        for path in place.modules:
            weight = linear(folded, path).weight
            weight.copy_(exact(weight) * gain)
    set_gains(folded, stream, 1.0)
    return folded


def rotate(model: PreTrainedModel, basis: Float[Tensor, "n n"]) -> PreTrainedModel:
    r"""A copy that answers the same, whose stream is x Q: embeddings E Q, writers Q^T W and Q^T b, readers W Q.

    A norm without gain commutes with it, |x Q| = |x|.

    Args:
        model: from `fold_norms`.
        basis: Q, orthogonal; its columns are the directions that become coordinates.

    Source:
        S. Ashkboos et al., *SliceGPT: compress large language models by deleting rows and columns*, ICLR 2024,
        theorem 1.
    """
    stream = rotatable_stream(model)
    turned = copy.deepcopy(model)
    norms = {place.norm for place in stream.places}
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
    """Gives all norms of a stream one gain, in place."""
    for place in stream.places:
        _gain(model, place.norm).fill_(gain)


def _turn(rows: Float[Tensor, "... n"], basis: Float[Tensor, "n n"]) -> None:
    values = exact(rows)
    rows.copy_(values @ exact(basis).to(values.device))


def _gain(model: nn.Module, norm: str | None) -> Tensor:
    weight: Tensor = model.get_submodule(norm or "").get_parameter("weight")
    return weight.detach()


def _divides_by_root_mean_square(norm: nn.Module, width: int) -> bool:
    """By what it does to a vector: releases and families have classes of their own for the same formula."""
    parameters = dict(norm.named_parameters(recurse=False))
    if [*parameters] != ["weight"]:
        return False
    weight = parameters["weight"].detach()
    x = torch.linspace(-1, 2, width, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        found = exact(norm(x))
    wanted = exact(weight) * exact(x) / exact(x).square().mean().sqrt()
    return bool(torch.allclose(found, wanted, rtol=ROUNDING, atol=0))
