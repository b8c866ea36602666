"""Embedding Fisher: the Fisher information at the embeddings of tokens, the bottom of the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import device_of
from infoprune.processes import add_up, total
from infoprune.statistics.accept import accept
from infoprune.statistics.answer import answer_of, remedy
from infoprune.statistics.backpropagate import backpropagate, scale_of
from infoprune.statistics.calibration import (
    Batch,
    Progress,
    check_batches,
    check_finite_weights,
    key_of,
    model_inputs,
    real_tokens,
)
from infoprune.statistics.products import add_products, mirrored, wide
from infoprune.statistics.random_numbers import RandomNumbers
from infoprune.statistics.taps import Tap
from infoprune.structure.modes import evaluation_mode


def embedding_fisher(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Float[Tensor, "n n"]:
    r"""Return the Fisher information of the model's prediction about the embedding row that a token reads.

    In a process group every process passes its own batches, and all get the Fisher information of all.

    G = sum_t g_t g_t^T, averaged over inputs, in nats per squared unit of the table: half of d^T G d is, to leading
    order, the KL divergence that a shift of one token's row by d causes, added up over the tokens of an input.

    Args:
        model: Model that reads tokens; it is left as it was.
        batches: Tokenised inputs as `model(**batch)` takes them. Padding does not count.
        seed: Seed of the samples where the distribution has more than 16 outputs.
        progress: Called with (batches done, batches in all).

    Raises:
        InputError: A weight or a gradient is not finite, or there is nothing to collect from.
    """
    batches = accept(model, batches)
    check_batches(batches)
    check_finite_weights(model)
    device = device_of(model)
    table: Any = model.get_input_embeddings()
    fisher = torch.zeros(table.embedding_dim, table.embedding_dim, dtype=torch.float64, device=device)
    inputs, tap = 0, Tap()
    handle = table.register_forward_hook(tap)
    try:
        with evaluation_mode(model, freeze=True), torch.enable_grad():
            for index, batch in enumerate(batches):
                fed = model_inputs(batch, device)
                mask = real_tokens(fed)
                answer = answer_of(model, model(**fed), mask)
                passed = tap.passed.pop()
                numbers = RandomNumbers(seed ^ key_of(batch))
                for (gradient,) in backpropagate(answer, answer.fisher_samples, numbers, [passed.y]):
                    if gradient is not None:
                        rows = wide(gradient).reshape(*mask.shape, -1)[mask] / scale_of(gradient.dtype)
                        add_products(fisher, rows)
                inputs += len(mask)
                if progress is not None:
                    progress(index + 1, len(batches))
    finally:
        handle.remove()
    add_up(fisher)
    if not torch.isfinite(fisher).all():
        raise InputError(
            f"gradients at the embeddings are not finite, expected finite numbers; {remedy(model.dtype)}, "
            "and check the inputs"
        )
    (inputs,) = total(inputs)
    return mirrored(fisher) / inputs
