"""Batches: tensors from texts and labels."""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from infoprune.data.texts import TextData
from infoprune.data.tokenizing import unchanged
from infoprune.errors import InputError

IGNORED = -100
"""Label of a token that does not count, as everywhere in transformers."""

LONGEST = 512
"""Default limit of the tokens of an input; the cost of attention grows with the square."""

# These families number positions from pad_token_id + 1, so that many rows of their table are never used.
_OFFSET_FAMILIES = frozenset({"camembert", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta"})


def label_ids(labels: Sequence[str], config: PretrainedConfig, classes: Sequence[str] | None = None) -> list[int]:
    """Translate label values into the model's class numbers.

    Args:
        labels: Label values as in ``TextData.labels``.
        config: Config of the model; its ``label2id`` has the names, which are compared without regard to case where
            this is unambiguous. Where these are the defaults LABEL_0, LABEL_1, ... the values may also be class
            numbers.
        classes: Names of the classes in the order of their numbers, as in ``TextData.classes``: what the values mean
            where the model's names are the defaults.

    Returns:
        A class number for each label.

    Raises:
        InputError: A value is not a label of this model.

    Examples:
        >>> label_ids(["positive", "negative"], config)
        [1, 0]
    """
    known: dict[str, int] = {str(name): int(number) for name, number in (config.label2id or {}).items()}
    if not known:
        raise InputError(
            "config.json names no labels, expected one for every class; write `id2label` there, e.g. "
            '{"0": "negative", "1": "positive"}'
        )
    spelt = known
    if all(re.fullmatch(r"LABEL_\d+", name) for name in known):
        numbers = {name: number for number, name in enumerate(classes or ())}
        spelt = known | {str(number): number for number in known.values()}
        spelt |= numbers if len(numbers) == len(known) else {}
    folded = {name.casefold(): number for name, number in spelt.items()}
    if len(folded) == len(spelt):
        spelt = {**{label: folded[label.casefold()] for label in set(labels) if label.casefold() in folded}, **spelt}
    unknown = sorted(set(labels) - set(spelt))
    if unknown:
        raise InputError(
            f"labels {_some(unknown)} are unknown to this model, which has {_some(known)}; rename them in the data, "
            "or name the right column with `label`"
        )
    return [spelt[label] for label in labels]


def label_numbers(labels: Sequence[str]) -> list[float]:
    """Read the labels of a regression task as numbers.

    Raises:
        InputError: A label is not a finite number.

    Examples:
        >>> label_numbers(["1", "2.5"])
        [1.0, 2.5]
    """
    numbers = []
    for label in labels:
        try:
            number = float(label)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(
                f"label {label!r} is not a number, expected numbers since this model has one output (regression); "
                "name the right column with `label`"
            )
        numbers.append(number)
    return numbers


def label_rows(labels: Sequence[str], classes: int) -> list[list[float]]:
    """Read the labels of a task with several labels per input: a 0 or a 1 for each class, separated by spaces.

    Raises:
        InputError: A row has other values, or not one for each class.

    Examples:
        >>> label_rows(["0 1 1", "1 0 0"], classes=3)
        [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    """
    rows = [label.split() for label in labels]
    for row in rows:
        if len(row) != classes or not {"0", "1"}.issuperset(row):
            raise InputError(
                f"label {' '.join(row)!r} is not a 0 or a 1 for each of {classes} classes, expected that since this "
                "model has several labels per input; separate them by spaces, or name the right column with `label`"
            )
    return [[float(number) for number in row] for row in rows]


def default_max_length(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int:
    """Return the largest number of tokens of an input: the smallest of the limits of tokenizer and model, and 512.

    Examples:
        >>> default_max_length(tokenizer, model.config)
        512
    """
    limits = [int(tokenizer.model_max_length), LONGEST]
    # Models with relative or rotary positions may specify no limit.
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_FAMILIES else 0
        limits.append(positions - offset)
    return min(limits)


def make_batches(
    data: TextData | Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int = 32,
    max_length: int | None = None,
    labels: Sequence[int] | Sequence[float] | Sequence[Sequence[float]] | None = None,
    samples: int | None = None,
    seed: int = 0,
    sort: bool = True,
) -> list[dict[str, Tensor]]:
    """Tokenise texts once and pack inputs of similar length together, padded to the longest of their batch.

    Args:
        data: The texts, as from `read_texts`, or a list of them.
        tokenizer: The model's tokenizer; without a padding token its end-of-text token pads, hidden by the mask.
        batch_size: Inputs per batch; the last batch may be smaller.
        max_length: Tokens at which an input is truncated; by default the tokenizer's limit, at most 512.
        labels: A target for each text: class numbers, numbers for regression, or rows of 0 and 1 for several labels.
        samples: Number of texts to sample without replacement; all by default, or where there are fewer.
        seed: Seed of the sample; the same seed gives the same batches.
        sort: Whether the shortest inputs come first; otherwise they keep the order of the data or of the sample.

    Returns:
        Batches of tensors (inputs, tokens) on the CPU: ``input_ids``, ``attention_mask``, whatever else the tokenizer
        makes, and ``labels`` (inputs,) or (inputs, classes).

    Raises:
        InputError: There is no text, all are blank, a text gives no token, or a number is out of range.

    Examples:
        >>> batches = make_batches(read_texts("reviews.csv"), tokenizer, batch_size=16, samples=64)
        >>> batches[0]["input_ids"].shape
        torch.Size([16, 10])
    """
    _check_counts(batch_size=batch_size, max_length=max_length, samples=samples)
    data = data if isinstance(data, TextData) else _listed(data)
    if not data.texts:
        raise InputError(f"{data.source}: no texts, expected at least one; pass data with rows")
    if not any(text.strip() for text in (*data.texts, *(data.pairs or ()))):
        raise InputError(f"{data.source}: all texts are blank, expected some with words; name their column with `text`")
    length = max_length or min(int(tokenizer.model_max_length), LONGEST)
    check_room(tokenizer, length, pairs=data.pairs is not None)
    if labels is not None and len(labels) != len(data):
        raise InputError(f"{data.source}: {len(labels)} labels for {len(data)} texts; pass one for each text")
    rows = sampled(len(data), samples, seed)
    with unchanged(tokenizer):
        encoded = tokenizer(
            [data.texts[row] for row in rows],
            None if data.pairs is None else [data.pairs[row] for row in rows],
            truncation=True,
            max_length=length,
        )
    lengths = [len(ids) for ids in encoded["input_ids"]]
    if 0 in lengths:
        row = rows[lengths.index(0)]
        raise InputError(f"{data.source}: row {row + 1} gives no token ({data.texts[row]!r:.40}); remove the row")
    targets = None if labels is None else torch.tensor([labels[row] for row in rows])
    return packed(encoded, tokenizer, batch_size, targets, sort=sort)


def check_room(tokenizer: PreTrainedTokenizerBase, length: int, *, pairs: bool = False) -> None:
    """Raise InputError where the tokens that a tokenizer adds leave no room for a text, which it would not truncate."""
    added = tokenizer.num_special_tokens_to_add(pair=pairs)
    if length <= added:
        raise InputError(
            f"`max_length` is {length}, expected more than the {added} special tokens that the tokenizer adds; "
            f"pass `max_length={added + 1}` or more"
        )


def padding_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that pads: the padding token, else the end-of-text token.

    Raises:
        InputError: The tokenizer has neither.
    """
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if pad is None:
        raise InputError(
            "the tokenizer has neither a padding nor an end-of-text token, expected one; set tokenizer.pad_token"
        )
    return int(pad)


def _listed(texts: Sequence[str]) -> TextData:
    if isinstance(texts, str):
        raise InputError(
            f"one text was given ({texts!r:.40}), expected several or data from read_texts; pass [text], or "
            "read_texts(path) for a file"
        )
    return TextData(tuple(texts), None, None, "the list of texts")


def sampled(count: int, samples: int | None, seed: int) -> list[int]:
    """Return the numbers of rows sampled without replacement; all in order where no number is given."""
    rows: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return list(range(count)) if samples is None else rows[:samples]


def packed(
    encoded: Mapping[str, list[list[int]]],
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int,
    targets: Tensor | None = None,
    *,
    sort: bool = True,
) -> list[dict[str, Tensor]]:
    """Pack tokenised inputs into batches, each padded to its longest input.

    Args:
        encoded: Rows of numbers by name, ``input_ids`` among them; rows of different names may differ in length.
        tokenizer: Tokenizer that specifies the padding.
        batch_size: Inputs per batch; the last batch may be smaller.
        targets: Values of ``labels``: a number, or a row of numbers, for each input.
        sort: Whether the shortest inputs come first.
    """
    ids = encoded["input_ids"]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row])) if sort else list(range(len(ids)))
    batches = []
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        batch = _padded({name: [values[i] for i in members] for name, values in encoded.items()}, tokenizer)
        batches.append(batch if targets is None else {**batch, "labels": targets[members]})
    return batches


def _padded(columns: Mapping[str, list[list[int]]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    pad = padding_token(tokenizer)
    fill = {"input_ids": pad, "decoder_input_ids": pad, "labels": IGNORED, "special_tokens_mask": 1}
    fill["token_type_ids"] = tokenizer.pad_token_type_id
    return {
        name: pad_sequence(
            [torch.tensor(row) for row in rows],
            batch_first=True,
            padding_value=fill.get(name, 0),
            # A tokenizer may specify left, for generate; padding on the left would shift the positions.
            padding_side="right",
        )
        for name, rows in columns.items()
    }


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"`{name}` is {count}, expected at least 1; pass a positive number")


def _some(values: Mapping[str, int] | Sequence[str]) -> str:
    shown = [repr(value) for value in list(values)[:8]]
    return ", ".join(shown) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
