"""Accept: turn batches, as users have them, into those that a model takes, or say what does not fit."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.lazy import LazyBatches
from infoprune.errors import InputError
from infoprune.statistics.calibration import FRAMES, Batch, with_frames
from infoprune.statistics.padding import check_padding
from infoprune.statistics.table_sizes import LIKE, check_table_sizes

_EXTRAS = frozenset(
    {
        "token_type_ids",
        "special_tokens_mask",
        "offset_mapping",
        "overflow_to_sample_mapping",
        "overflowing_tokens",
        "num_truncated_tokens",
        "length",
    }
)
"""What tokenizers make besides the inputs of a model; a model that does not take it does not need it."""

_INPUTS = ("input_ids", "inputs_embeds", "pixel_values", "input_features", "input_values")
_KNOWN = frozenset({*_INPUTS, *LIKE, *LIKE.values(), "position_ids"})
_MADE_BY = "infoprune.make_batches(texts, tokenizer) makes them"


def accept(model: nn.Module, batches: object, tokenizer: PreTrainedTokenizerBase | None = None) -> Sequence[Batch]:
    """Return batches as a list of dictionaries of tensors with what the model takes, and the labels.

    One batch may be given alone, and batches by a generator or a data loader; their values may be lists of equal
    length. What tokenizers add and the model does not take is left out. Where nothing has to be changed, the batches
    themselves are returned. Lazy batches stay lazy, and are checked when they are made.

    Args:
        model: The model; what it takes is known of transformers models only.
        batches: The batches.
        tokenizer: Tokenizer that made them, if it is known, for the message where it has more tokens than the model.

    Raises:
        InputError: Something is no batch, has a name that the model does not take, or does not fit the sizes of its
            tables.

    Examples:
        >>> [batch.keys() for batch in accept(model, tokenizer(["A film."], return_special_tokens_mask=True))]
        [dict_keys(['input_ids', 'token_type_ids', 'attention_mask'])]
    """
    if isinstance(batches, str | Tensor) or not isinstance(batches, Iterable):
        raise InputError(f"batches are a {type(batches).__name__}, expected a list of dicts of tensors; {_MADE_BY}")
    if isinstance(batches, LazyBatches):
        return batches.then(lambda batch: dict(accept(model, batch)[0]))
    given = [batches] if isinstance(batches, Mapping) else list(batches)
    names = _names(model)
    found = [_tensors(batch, f"batch {number}", names, model) for number, batch in enumerate(given, start=1)]
    if isinstance(model, PreTrainedModel):
        found = [with_frames(batch, model.config) for batch in found]
        check_table_sizes(model, found, tokenizer)
        for batch in found:
            check_padding(model, batch)
    return found


def _names(model: nn.Module) -> frozenset[str] | None:
    """Return the names that a model takes; None where it does not say."""
    if not isinstance(model, PreTrainedModel):
        return None
    takes = inspect.getfullargspec(inspect.unwrap(type(model).forward))
    return frozenset(takes.args + takes.kwonlyargs) - {"self"}


def _tensors(batch: object, where: str, names: frozenset[str] | None, model: nn.Module) -> Batch:
    """Return a batch with tensors for values, without what the model does not take."""
    if not isinstance(batch, Mapping):
        given = f"{batch!r:.40}" if isinstance(batch, str) else f"a {type(batch).__name__}"
        raise InputError(f"{where} is {given}, expected a dict of tensors; {_MADE_BY}")
    found: dict[str, Tensor] = {}
    for name, value in batch.items():
        if value is None or (names is not None and name in _EXTRAS - names):
            continue
        if names is not None and name not in names and name not in ("labels", FRAMES):
            raise InputError(
                f"{where} has {name!r}, which {type(model).__name__} does not take, expected some of "
                f"{', '.join(sorted(names & _KNOWN))}; remove or rename it"
            )
        found[name] = _tensor(value, f"{name} of {where}")
    if names is not None and found.keys().isdisjoint(_INPUTS):
        raise InputError(f"{where} has {', '.join(found) or 'nothing'}, expected input_ids among them; {_MADE_BY}")
    same = isinstance(batch, dict) and batch.keys() == found.keys() and all(found[key] is batch[key] for key in found)
    return batch if same else found


def _tensor(value: object, where: str) -> Tensor:
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value)
        except (ValueError, TypeError, RuntimeError, OverflowError):
            raise InputError(
                f"{where} is no tensor and does not make one, expected rows of numbers of equal length; call the "
                'tokenizer with padding=True, return_tensors="pt"'
            ) from None
    # Autograd cannot save a tensor that was made under torch.inference_mode().
    return value.clone() if value.is_inference() else value
