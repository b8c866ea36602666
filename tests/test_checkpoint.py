import json
import os

import pytest
import torch
from tiny import logits_of, make_batches
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification
from unregistered import plain_transformers

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.files.folders import new_folder
from infoprune.plan import Plan, plan_of
from infoprune.structure.sites import find_sites
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan

UNEVEN = {"layers.0.ffn": (1, 2, 5, 40), "layers.1.ffn": (0, 63)}
EVEN = {"layers.0.ffn": (1, 2, 5), "layers.1.ffn": (0, 3, 63)}
HEADS = {"layers.0.heads": (1, 3), "layers.1.heads": (2,)}


def cut(model, kept):
    units = {site.name: site.units for site in find_sites(model) if site.name in kept}
    return apply_plan(model, Plan("bert", units, kept, "random", 0, 0.5))


def assert_same(a, b):
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype
        assert torch.equal(tensor, second[name]), name
    assert torch.equal(logits_of(a, make_batches()), logits_of(b, make_batches()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("kept", [UNEVEN, EVEN, HEADS, UNEVEN | HEADS], ids=["uneven", "even", "heads", "both"])
def test_bit_by_bit(make_tiny_bert, tmp_path, dtype, kept):
    small = cut(make_tiny_bert(dtype), kept)
    save(small, tmp_path / "out")
    back = load(tmp_path / "out")
    assert_same(small, back)
    assert plan_of(back) == plan_of(small)
    assert not back.training
    assert [site.units for site in find_sites(back)] == [site.units for site in find_sites(small)]
    save(back, tmp_path / "again")
    for name in ("model.safetensors", "config.json", "plan.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_a_loaded_model_can_be_cut_again(tiny_bert, tmp_path):
    once = cut(tiny_bert, EVEN | HEADS)
    save(once, tmp_path / "once")
    later = {"layers.0.ffn": (0, 2), "layers.1.ffn": (1,)}
    twice = cut(load(tmp_path / "once"), later)
    assert_same(twice, cut(once, later))
    save(twice, tmp_path / "twice")
    assert_same(load(tmp_path / "twice"), twice)
    assert plan_of(twice).kept["layers.0.ffn"] == (1, 5)


@pytest.mark.parametrize(
    ("kept", "opens"), [(EVEN, "transformers"), (UNEVEN, "infoprune"), (EVEN | HEADS, "infoprune")]
)
def test_what_opens_it(tiny_bert, tmp_path, kept, opens):
    small = cut(tiny_bert, kept)
    save(small, tmp_path / "out")
    assert loads_in(find_sites(tiny_bert), plan_of(small).counts) == opens
    if opens == "transformers":
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
        assert type(plain) is BertForSequenceClassification
        assert_same(plain, small)
    else:
        with plain_transformers(), pytest.raises((RuntimeError, ValueError)):
            AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
        assert_same(AutoModelForSequenceClassification.from_pretrained(tmp_path / "out"), small)


def test_what_was_cut_before_counts_too(tiny_bert):
    once = cut(tiny_bert, HEADS)
    twice = cut(once, EVEN)
    assert loads_in(find_sites(once), plan_of(twice).counts) == "infoprune"


def test_whoever_may_read_the_config_may_read_the_weights(tiny_bert, tmp_path):
    save(tiny_bert, tmp_path / "model")
    modes = {file.name: file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_tokenizer_goes_along(tiny_bert, tokenizer, tmp_path):
    save(tiny_bert, tmp_path / "out", tokenizer)
    assert (
        type(tokenizer).from_pretrained(tmp_path / "out")("a good film").input_ids == tokenizer("a good film").input_ids
    )


def test_a_dense_model(tiny_bert, tmp_path, saved_bert):
    save(tiny_bert, tmp_path / "out")
    assert not (tmp_path / "out" / "plan.json").exists()
    assert plan_of(load(tmp_path / "out")) is None
    assert_same(load(tmp_path / "out"), tiny_bert)
    assert_same(load(saved_bert), tiny_bert)


def fail(folder, **options):
    def write():
        with new_folder(folder, **options) as draft:
            (draft / "half").write_text("half")
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        write()


def test_whole_or_not_at_all(tmp_path):
    fail(tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []
    with new_folder(tmp_path / "deep" / "out") as draft:
        (draft / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert os.listdir(tmp_path / "deep") == ["out"]
    assert os.listdir(tmp_path / "deep" / "out") == ["a"]


def test_force_replaces_or_keeps(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(InputError, match=r"not empty.*`force=True`"), new_folder(out):
        pass
    fail(out, force=True)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(out) == ["old"]
    with new_folder(out, force=True) as draft:
        (draft / "new").write_text("new")
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(out) == ["new"]


def test_an_empty_folder_may_be_filled(tmp_path):
    with new_folder(tmp_path) as draft:
        (draft / "new").write_text("new")
    assert os.listdir(tmp_path) == ["new"]


def test_a_file_is_in_the_way(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"), new_folder(tmp_path / "out", force=True):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def swapped(path):
    plan = json.loads(path.read_text())
    plan["kept"]["layers.0.ffn"].append(7)
    plan["kept"]["layers.0.ffn"].sort()
    path.write_text(json.dumps(plan))


DAMAGES = {
    "no config": lambda f: (f / "config.json").unlink(),
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "empty weights": lambda f: (f / "model.safetensors").write_bytes(b""),
    "short weights": lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
    "noise for weights": lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 200),
    "config is no json": lambda f: (f / "config.json").write_text("{"),
    "config is a list": lambda f: (f / "config.json").write_text("[]"),
    "config is empty": lambda f: (f / "config.json").write_text("{}"),
    "config is binary": lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"),
    "config of no known type": lambda f: edit(f / "config.json", model_type="nonesuch"),
    "config of an unknown class": lambda f: edit(f / "config.json", architectures=["Nonesuch"]),
    "config of no model": lambda f: edit(f / "config.json", architectures=["AutoConfig"]),
    "config of another width": lambda f: edit(f / "config.json", hidden_size=40),
    "config of more layers": lambda f: edit(f / "config.json", num_hidden_layers=3),
    "config with words for numbers": lambda f: edit(f / "config.json", hidden_size="wide"),
    "config with an odd width": lambda f: edit(f / "config.json", hidden_size=30),
}
PLAN_DAMAGES = {
    "plan has more layers than the config": lambda f: edit(f / "config.json", num_hidden_layers=1),
    "plan is no json": lambda f: (f / "plan.json").write_text("{"),
    "plan is binary": lambda f: (f / "plan.json").write_bytes(b"\xff\xfe\x00"),
    "plan counts other units": lambda f: swapped(f / "plan.json"),
    "plan names other sites": lambda f: edit(f / "plan.json", units={"layers.9.ffn": 4}, kept={"layers.9.ffn": [0]}),
    "plan of another family": lambda f: edit(f / "plan.json", model_type="gpt2"),
}


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders(tiny_bert, tmp_path, damage, pruned):
    save(cut(tiny_bert, UNEVEN | HEADS) if pruned else tiny_bert, tmp_path / "out")
    DAMAGES[damage](tmp_path / "out")
    with pytest.raises(InputError) as raised:
        load(tmp_path / "out")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", PLAN_DAMAGES)
def test_damaged_plans(tiny_bert, tmp_path, damage):
    save(cut(tiny_bert, UNEVEN | HEADS), tmp_path / "out")
    PLAN_DAMAGES[damage](tmp_path / "out")
    with pytest.raises(InputError, match=r"plan\.json|plan"):
        load(tmp_path / "out")


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        load(tmp_path / "nowhere")
