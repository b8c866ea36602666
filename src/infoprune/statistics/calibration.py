"""Calibration inputs: tokenised batches without labels, and checks of them."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from infoprune.errors import InputError
from infoprune.measuring.measure import count_frames, device_of, example_length, takes_waves
from infoprune.processes import largest, process_count, total
from infoprune.structure.embeddings import tokens_by_role
from infoprune.structure.offload import present
from infoprune.structure.site import Site

FRAMES = "frame_mask"
"""Name in a batch of sound waves of the frames that are not padding; no input of the model."""

Batch = Mapping[str, Tensor]
Progress = Callable[[int, int], None]


def model_inputs(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Return what is fed to the model, on its device: everything but the labels and what `with_frames` adds."""
    return {key: value.to(device) for key, value in batch.items() if key not in ("labels", FRAMES)}


def reads_tokens(batch: Batch) -> bool:
    """Return whether texts are among the inputs: of a picture or sound the model decides how many tokens it makes."""
    return "input_ids" in batch or batch.keys().isdisjoint({"pixel_values", "input_features", "input_values"})


def real_tokens(batch: Batch, stack: str = "layers") -> Bool[Tensor, "batch length"]:
    """Return which tokens are not padding; one entry per picture or sound, whose length only the model knows.

    Args:
        batch: Inputs of a model.
        stack: Pass "decoder" for the tokens that the decoder of an encoder-decoder reads, and "pictures" for the
            pictures beside texts.
    """
    if stack == "pictures":
        pictures = batch["pixel_values"]
        return torch.ones(len(pictures), 1, dtype=torch.bool, device=pictures.device)
    if FRAMES in batch:
        return batch[FRAMES]
    prefix = "decoder_" if stack == "decoder" else ""
    if f"{prefix}attention_mask" in batch:
        return batch[f"{prefix}attention_mask"].bool()
    first = batch["decoder_input_ids"] if prefix else batch.get("input_ids", next(iter(batch.values())))
    length = first.shape[1] if prefix or reads_tokens(batch) else 1
    return torch.ones(len(first), length, dtype=torch.bool, device=first.device)


def with_frames(batch: Batch, config: PretrainedConfig) -> Batch:
    """Return a batch of sound waves with the frames that are not padding, (inputs, frames); any other as it is.

    Convolutions make a frame of some samples, so a mask over the samples does not fit what a layer reads.
    """
    if "input_values" not in batch or FRAMES in batch or not takes_waves(config):
        return batch
    waves = batch["input_values"]
    real = batch.get("attention_mask", torch.ones_like(waves, dtype=torch.long)).sum(1)
    frames = torch.arange(count_frames(config, waves.shape[1]), device=real.device)
    counts = torch.tensor([count_frames(config, int(samples)) for samples in real], device=real.device)
    return {**batch, FRAMES: frames < counts[:, None]}


def key_of(batch: Batch) -> int:
    """Return a number below 2^63 that identifies a batch by its content, without the labels."""
    digest = hashlib.sha256()
    for name in sorted(batch.keys() - {"labels", FRAMES}):
        tensor = batch[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def typical_shape(batches: Sequence[Batch], config: PretrainedConfig) -> tuple[int, int]:
    """Return (inputs, tokens) of a batch that represents all: the largest number of inputs, and the padded length.

    The length is averaged over tokens: the share of the FLOPs that grows with the square of the length is then that of
    all batches together, those of other processes included. For pictures it is the number of patches. Of sound a model
    always reads the same length, so it is the length of what the decoder reads.

    Args:
        batches: Tokenised inputs.
        config: Config of the model.

    Examples:
        >>> typical_shape(make_batches(read_texts("reviews.csv"), tokenizer), model.config)
        (32, 31)
    """
    shapes = [
        real_tokens(with_frames(batch, config), "decoder" if "input_features" in batch else "layers").shape
        for batch in batches
    ]
    tokens, squares = total(
        sum(inputs * length for inputs, length in shapes), sum(inputs * length**2 for inputs, length in shapes)
    )
    return largest(max((inputs for inputs, _ in shapes), default=0)), example_length(config, round(squares / tokens))


def check_batches(batches: Sequence[Batch]) -> None:
    """Raise InputError where there is nothing to calibrate on, in this process or in others."""
    idle, tokens = total(int(len(batches) == 0), sum(int(real_tokens(batch).sum()) for batch in batches))
    if idle == process_count():
        raise InputError("there are no calibration inputs, expected at least one batch; pass some texts")
    if idle:
        raise InputError(
            f"{idle} of {process_count()} processes have no calibration inputs, expected a batch for each; "
            "start fewer processes, or pass more texts or smaller batches"
        )
    if tokens == 0:
        raise InputError(
            "all calibration tokens are padding, expected at least one real token; check the attention masks"
        )


def check_targets(model: PreTrainedModel, batches: Sequence[Batch]) -> None:
    """Raise InputError where batches for an encoder-decoder lack the inputs of its decoder."""
    if model.config.is_encoder_decoder and any("decoder_input_ids" not in batch for batch in batches):
        raise InputError(
            f"{type(model).__name__} has a decoder, expected batches with decoder_input_ids; "
            "with_targets(model, batches) generates them with the model"
        )


def with_targets(model: PreTrainedModel, batches: Sequence[Batch], *, length: int = 64) -> list[Batch]:
    """Return the batches with decoder inputs; where they are missing, the encoder-decoder generates them itself.

    Args:
        model: Encoder-decoder; batches for any other model come back as they are.
        batches: Tokenised inputs.
        length: Largest number of tokens to generate.
    """
    if not model.config.is_encoder_decoder:
        return list(batches)
    device = device_of(model)
    last = torch.tensor(tokens_by_role(model).get("eos_token_id", ()), dtype=torch.long, device=device)
    found: list[Batch] = []
    for batch in batches:
        if "decoder_input_ids" in batch:
            found.append(batch)
            continue
        written, starts = _written(model, model_inputs(batch, device), length)
        ends = torch.isin(written, last)
        ends[:, :starts] = False  # some decoders start with the token that ends a text
        past = (ends.cumsum(1) - ends.long()) > 0  # after the first end of text
        targets = {"decoder_input_ids": written, "decoder_attention_mask": (~past).long()}
        found.append({**batch, **{name: value.cpu() for name, value in targets.items()}})
    return found


def _written(model: PreTrainedModel, inputs: dict[str, Tensor], length: int) -> tuple[Tensor, int]:
    """Return what an encoder-decoder generates, with the tokens it starts from, and the number of these.

    A model of speech leaves them out of what it returns, but its decoder has read them: in the last call that begins
    with the start token, as with a cache every later one reads a single new token.
    """
    start, texts = tokens_by_role(model).get("decoder_start_token_id", ()), len(next(iter(inputs.values())))
    prompt: list[Tensor] = []

    def starts(ids: Tensor) -> bool:
        return bool(torch.isin(ids[:, 0], torch.tensor(start, dtype=torch.long, device=ids.device)).all())

    def look(_module: nn.Module, _args: tuple[object, ...], kwargs: dict[str, Tensor | None]) -> None:
        read = kwargs.get("decoder_input_ids")
        if read is not None and len(read) % texts == 0 and starts(read):
            prompt[:] = [read[:: len(read) // texts]]  # of several beams of a text the first

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        written: Tensor = model.generate(**inputs, max_new_tokens=length, do_sample=False, use_cache=True)  # type: ignore[operator]
    finally:
        handle.remove()
    if not prompt or starts(written):
        return written, 1
    return torch.cat([prompt[0].to(written), written], 1), prompt[0].shape[1]


def check_gradients_pass(model: nn.Module) -> None:
    """Raise InputError where weights were made under torch.inference_mode(): no gradient can pass through them."""
    name = next((name for name, parameter in model.named_parameters() if parameter.is_inference()), None)
    if name is not None:
        raise InputError(
            f"weight {name} was made under torch.inference_mode() and lets no gradient pass, expected an ordinary one; "
            "load the model outside of it, or pass copy.deepcopy(model) made outside of it"
        )


def check_finite_weights(model: nn.Module) -> None:
    """Raise InputError, naming the parameter, where a weight is NaN or infinite, or lets no gradient pass."""
    check_gradients_pass(model)
    for path, module in model.named_modules():
        with present(model, path):
            for name, parameter in module.named_parameters(path, recurse=False):
                if not torch.isfinite(parameter).all():
                    raise InputError(
                        f"weight {name} holds NaN or infinite values, expected finite numbers; check the checkpoint"
                    )


def warn_few_tokens(sites: Sequence[Site], batches: Sequence[Batch]) -> None:
    """Warn where the texts say little: fewer tokens than a reader has inputs, a single text, or nearly equal ones.

    Shrinkage keeps the result finite.
    """
    if total(sum(not reads_tokens(batch) for batch in batches)) != (0,):
        return
    _warn_equal(batches)
    (tokens,) = total(sum(int(real_tokens(batch).sum()) for batch in batches))
    widest = max(sites, key=lambda site: site.units * site.size / _share_read(site))
    inputs, tokens = widest.units * widest.size, round(tokens * _share_read(widest))
    if tokens < inputs:
        warnings.warn(
            f"{tokens} calibration tokens for the {inputs} inputs of {widest.reader}, expected more than inputs: "
            "only shrinkage keeps the covariances invertible; pass more or longer texts",
            stacklevel=3,
        )


def _share_read(site: Site) -> float:
    """Return the share of the tokens that reach a unit of a site on average: those that read its expert, else all."""
    return site.routing.chosen / site.neurons.experts if site.routing is not None and site.neurons is not None else 1.0


EQUAL = 0.9
"""Share of equal inputs from which on they are taken for a mistake: duplicates of real data are far fewer."""


def _warn_equal(batches: Sequence[Batch]) -> None:
    """Warn where there is one calibration text, or nearly all are the same or repeat a few."""
    found: Counter[tuple[int, ...]] = Counter()
    for batch in (each for each in batches if "input_ids" in each):
        rows = torch.where(real_tokens(batch), batch["input_ids"], -1)
        if "decoder_input_ids" in batch:  # one source may have several targets
            written = torch.where(real_tokens(batch, "decoder"), batch["decoder_input_ids"], -1)
            rows = torch.cat([rows, written], 1)
        found.update(tuple(token for token in row if token >= 0) for row in rows.tolist())
    most, distinct, inputs = total(max(found.values(), default=0), len(found), found.total())
    if inputs == 1:
        what = "there is one calibration text"
    elif most >= EQUAL * inputs or distinct <= (1 - EQUAL) * inputs:
        what = f"{inputs:,} calibration texts hold {distinct:,} different ones, and one of them {most:,} times"
    else:
        return
    warnings.warn(
        f"{what}: what is pruned away is what these do not need; pass some hundred different texts, like those that "
        "the model is used on",
        stacklevel=4,
    )
