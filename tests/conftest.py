"""Tiny real architectures, built from configs: no downloads, no mocks."""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# What tests measure of this machine stays with the tests.
os.environ["HF_ASSETS_CACHE"] = tempfile.mkdtemp(prefix="infoprune-tests-")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from tiny_bert import build_tiny_bert, build_tokenizer


@pytest.fixture(scope="session", autouse=True)
def _the_same_sizes_on_every_machine():
    """Budgets round sizes to what a machine's kernels like, which is measured: here to 8, whatever the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infoprune.budgets.costs.preferred_multiple", lambda _device, _dtype: 8)
        yield


@pytest.fixture(scope="session")
def make_tiny_bert():
    """The builder itself: ``make_tiny_bert(dtype=..., seed=..., **config settings)``."""
    return build_tiny_bert


@pytest.fixture
def tiny_bert():
    return build_tiny_bert()


@pytest.fixture
def tiny_bert64():
    return build_tiny_bert(torch.float64)


@pytest.fixture
def tokenizer():
    """One for each test: a fast tokenizer keeps the padding and truncation of its last call, and saves them too."""
    return build_tokenizer()


@pytest.fixture
def saved_bert(tmp_path, tiny_bert, tokenizer):
    """A folder with the tiny model and its tokenizer, as from ``save_pretrained``."""
    folder = tmp_path / "tiny-bert"
    tiny_bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """The place of an empty cache of the hub, which alone is read; `hub_cache.put_in_cache` puts models there."""
    place = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return place
