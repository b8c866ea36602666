"""Transcribe: what a model of speech writes of clips, and the share of the words in which two transcripts differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.clips import speech_extra
from infoprune.measuring.measure import device_of
from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import model_inputs, real_tokens
from infoprune.structure.modes import evaluation_mode
from infoprune.tasks.evaluate import Progress

LONGEST = 200
"""Tokens that are written of a clip at most."""


def transcribe(
    model: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    longest: int = LONGEST,
    progress: Progress | None = None,
) -> list[str]:
    """Return the transcripts that a model writes of clips, each token the likeliest.

    Args:
        model: Encoder-decoder that reads sound.
        batches: Batches with ``input_features``; what else they hold is not used.
        tokenizer: Its tokenizer.
        longest: Largest number of tokens of a transcript.
        progress: Called with (batches done, batches in total).
    """
    found: list[str] = []
    with evaluation_mode(model), torch.inference_mode():
        for done, batch in enumerate(batches, start=1):
            sound = batch["input_features"].to(device_of(model), model.dtype)
            written = model.generate(input_features=sound, max_new_tokens=longest, do_sample=False, num_beams=1)  # type: ignore[operator]
            found += [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
            if progress is not None:
                progress(done, len(batches))
    return found


def transcribe_frames(
    model: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Return the transcripts of a model that has a token for every frame (CTC), each token the likeliest.

    Args:
        model: Model that reads sound waves.
        batches: Batches with ``input_values``.
        tokenizer: Its tokenizer, which joins repeated tokens and leaves out the blank one.
    """
    found: list[str] = []
    with evaluation_mode(model), torch.inference_mode():
        for batch in accept(model, batches):
            given = {
                name: value.to(device_of(model), model.dtype if value.is_floating_point() else None)
                for name, value in model_inputs(batch, device_of(model)).items()
            }
            tokens, real = model(**given).logits.argmax(-1).cpu(), real_tokens(batch).cpu()
            rows = [row[counts].tolist() for row, counts in zip(tokens, real, strict=True)]
            found += [text.strip() for text in tokenizer.batch_decode(rows)]
    return found


def word_error_rate(truth: Sequence[str], said: Sequence[str]) -> float | None:
    """Return the words that were replaced, left out or added, divided by the words of the right transcripts.

    Case and punctuation do not count. None where the right transcripts hold no word.

    Args:
        truth: Right transcripts.
        said: Transcripts of a model, in the same order.

    Raises:
        InputError: jiwer is not installed.

    Examples:
        >>> word_error_rate(["a small model"], ["A tall model."])
        0.3333333333333333
    """
    jiwer = speech_extra("jiwer")
    pairs = [(words_of(right), words_of(other)) for right, other in zip(truth, said, strict=True)]
    words = sum(len(right) for right, _ in pairs)
    if not words:
        return None
    errors = 0
    for right, other in pairs:
        if not right:  # silence: every word is one too many
            errors += len(other)
            continue
        found = jiwer.process_words(" ".join(right), " ".join(other))
        errors += found.substitutions + found.deletions + found.insertions
    return float(errors / words)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation around and within them.

    Examples:
        >>> words_of("It's a model, small.")
        ["it's", 'a', 'model', 'small']
    """
    straight = text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return "".join(each if each.isalnum() or each == "'" else " " for each in straight).split()
