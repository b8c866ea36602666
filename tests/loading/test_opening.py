"""A pruned model opens wherever transformers opens models."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from cuts_of_all_types import cut_everything
from safetensors.torch import load_file, save_file
from tiny import logits_of, make_batches
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
from unregistered import plain_transformers
from zoo import FORMS, answers, build, inputs

import infoprune
from infoprune.checkpoint import empty_model, load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.loading.sizes import Sizes, sizes_in
from infoprune.plan import VOCABULARY, Plan, plan_of
from infoprune.structure.sites import every_site, find_sites

SCRIPT = """
import sys
import torch
{imports}
torch.set_num_threads(1)
batch = torch.load(sys.argv[2])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
with torch.no_grad():
    logits = model(**batch).logits
    torch.testing.assert_close(torch.compile(model, backend="eager")(**batch).logits, logits)
torch.save(logits, sys.argv[3])
"""
AUTO = "from transformers import AutoModelForSequenceClassification"
SOURCES = Path(infoprune.__file__).parent.parent


@pytest.fixture
def small(tiny_bert):
    return cut_everything(tiny_bert)


def in_a_fresh_process(folder, tmp_path, imports):
    torch.save(make_batches()[0], tmp_path / "batch")
    call = [sys.executable, "-c", SCRIPT.format(imports=imports), folder, tmp_path / "batch", tmp_path / "logits"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    return subprocess.run(call, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("imports", [f"import infoprune\n{AUTO}", f"{AUTO}\nimport infoprune"], ids=["first", "after"])
def test_importing_infoprune_is_enough(small, tmp_path, imports):
    save(small, tmp_path / "out")
    done = in_a_fresh_process(tmp_path / "out", tmp_path, imports)
    assert done.returncode == 0, done.stderr
    expected = logits_of(load(tmp_path / "out"), make_batches()[:1])
    assert torch.equal(torch.load(tmp_path / "logits"), expected)
    assert torch.equal(expected, logits_of(small, make_batches()[:1]))


def test_without_it_nothing_is_loaded(small, tmp_path):
    save(small, tmp_path / "out")
    done = in_a_fresh_process(tmp_path / "out", tmp_path, AUTO)
    assert done.returncode == 1
    assert "mismatch" in done.stderr
    assert not (tmp_path / "logits").exists()
    assert (
        "import infoprune"
        in json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["opens_with"]
    )


@pytest.mark.parametrize("per_layer", [True, False], ids=["per layer", "as a whole"])
@pytest.mark.parametrize("model_type", FORMS)
def test_every_family_with_every_structure(model_type, per_layer, tmp_path):
    model, batches = build(model_type, torch.float32), inputs(model_type)
    if not per_layer and "hidden-size" not in FAMILIES[model_type].more_structures:
        return
    small = cut_everything(model, per_layer=per_layer)
    expected = answers(small, batches)
    fields = {field.name for site in every_site(model) for field in site.config}
    assert all(getattr(small.config, name, None) == getattr(model.config, name, None) for name in fields)
    small.save_pretrained(tmp_path / "out")
    back = type(model).from_pretrained(tmp_path / "out")
    assert torch.equal(answers(back, batches), expected)
    assert torch.equal(answers(load(tmp_path / "out"), batches), expected)
    with plain_transformers(), pytest.raises((RuntimeError, ValueError)):
        type(model).from_pretrained(tmp_path / "out")
    built = type(model)._from_config(AutoConfig.from_pretrained(tmp_path / "out"))
    shapes = {name: tensor.shape for name, tensor in small.state_dict().items()}
    assert {name: tensor.shape for name, tensor in built.state_dict().items()} == shapes
    assert torch.isfinite(answers(built, batches)).all()
    assert empty_model(tmp_path / "out").num_parameters() == small.num_parameters()
    if type(model.config) not in AutoModel._model_mapping:
        return
    bare = AutoModel.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        assert all(torch.isfinite(bare(**batch)[0]).all() for batch in batches)


def test_any_save_keeps_the_sizes(small, tmp_path):
    save(small, tmp_path / "out")
    back = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    back.save_pretrained(tmp_path / "again", max_shard_size="20KB")
    assert len([*(tmp_path / "again").glob("*.safetensors")]) > 1
    assert sizes_in(json.loads((tmp_path / "again" / "config.json").read_text())) == sizes_in(small.config)
    again = load(tmp_path / "again")
    assert plan_of(again) is None
    assert torch.equal(logits_of(again, make_batches()), logits_of(small, make_batches()))


def test_a_further_cut_of_what_has_no_plan(tiny_bert, tmp_path):
    small = cut_everything(tiny_bert, per_layer=False, empty=False)
    small.save_pretrained(tmp_path / "out")
    smaller = cut_everything(load(tmp_path / "out"), per_layer=False)
    assert smaller.config.hidden_size == tiny_bert.config.hidden_size
    smaller.save_pretrained(tmp_path / "again")
    back = AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")
    assert torch.equal(logits_of(back, make_batches()), logits_of(smaller, make_batches()))


def test_nothing_is_added_where_the_class_has_the_sizes(tiny_bert):
    sites = [site for site in find_sites(tiny_bert) if site.structure == "ffn"]
    plan = Plan("bert", {s.name: 64 for s in sites}, {s.name: tuple(range(20)) for s in sites}, "random", 0)
    even = infoprune.apply_plan(tiny_bert, plan)
    assert even.config.intermediate_size == 20
    assert sizes_in(even.config) is None
    first = {"layers.0.ffn": tuple(range(5))}
    uneven = infoprune.apply_plan(even, replace(plan, units={"layers.0.ffn": 20}, kept=first))
    assert uneven.config.intermediate_size == 64
    assert sizes_in(uneven.config) == Sizes({"layers.0.ffn": 5, "layers.1.ffn": 20})


def test_added_biases_are_not_lost(tmp_path):
    """Of sizes that the class has, so that the biases alone call for the method, and the shapes still do not fit it."""
    model, batches = build("llama", torch.float32), inputs("llama")
    kept = {f"layers.{layer}.ffn": tuple(range(20)) for layer in range(2)}
    small = infoprune.apply_plan(model, Plan("llama", dict.fromkeys(kept, 40), kept, "random", 0))
    assert sizes_in(small.config) is None
    reader = small.model.layers[0].mlp.down_proj
    reader.bias = torch.nn.Parameter(torch.ones(48))
    save(small, tmp_path / "out")
    assert sizes_in(small.config).biases == ("layers.0.mlp.down_proj",)
    expected = answers(small, batches)
    for back in (load(tmp_path / "out"), type(model).from_pretrained(tmp_path / "out")):
        assert torch.equal(answers(back, batches), expected)
    bare = AutoModel.from_pretrained(tmp_path / "out")
    assert torch.equal(bare.layers[0].mlp.down_proj.bias, reader.bias)
    with plain_transformers(), pytest.raises(RuntimeError, match="size"):
        type(model).from_pretrained(tmp_path / "out")


def test_another_head(small, tmp_path):
    small.save_pretrained(tmp_path / "out")
    bare = AutoModel.from_pretrained(tmp_path / "out")
    batch = make_batches()[0]
    with torch.no_grad():
        assert torch.equal(bare(**batch)[0], small.bert(**batch)[0])
    bare.save_pretrained(tmp_path / "bare")
    other = AutoModelForSequenceClassification.from_pretrained(tmp_path / "bare", num_labels=7)
    assert logits_of(other, make_batches()).shape == (7, 7)
    tags = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "bare", num_labels=4)
    assert logits_of(tags, make_batches()[:1]).shape[-1] == 4


def test_only_the_encoder(tmp_path):
    model = build("t5", torch.float32)
    small = cut_everything(model)
    small.save_pretrained(tmp_path / "out")
    encoder = transformers.T5EncoderModel.from_pretrained(tmp_path / "out")
    batch = {name: inputs("t5")[0][name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert torch.equal(encoder(**batch)[0], small.encoder(**batch)[0])


def old_folder(model, folder):
    """A folder as release 0.1 wrote it: the sizes and indices are in the plan alone."""
    save(model, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    kept = {name: each for name, each in weights.items() if not name.endswith(("token_rows", "stream_coordinates"))}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def test_folders_of_the_first_release(small, tmp_path):
    old_folder(small, tmp_path / "old")
    back = load(tmp_path / "old")
    assert torch.equal(logits_of(back, make_batches()), logits_of(small, make_batches()))
    assert back.get_input_embeddings().padding_idx == small.get_input_embeddings().padding_idx
    save(back, tmp_path / "new")
    save(small, tmp_path / "direct")
    for name in ("config.json", "plan.json", "model.safetensors"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()


DAMAGES = {
    "of a later version": (lambda sizes: sizes.update(version=2), "sizes of version 2"),
    "no numbers": (lambda sizes: sizes["units"].update({"layers.0.ffn": "many"}), "damaged pruned sizes"),
    "a list": (lambda sizes: sizes.update(units=[1]), "damaged pruned sizes"),
    "no paths": (lambda sizes: sizes.update(biases=[1]), "damaged pruned sizes"),
    "too many": (lambda sizes: sizes["units"].update({"layers.0.ffn": 1000}), "keeps 1000 units of layers.0.ffn"),
    "others": (lambda sizes: sizes["units"].update({"layers.0.ffn": 3}), "keeps 63 units of layers.0.ffn, .* has 3"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_sizes(small, tmp_path, damage):
    change, words = DAMAGES[damage]
    save(small, tmp_path / "out")
    file = tmp_path / "out" / "config.json"
    config = json.loads(file.read_text())
    change(config["quantization_config"])
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=words) as raised:
        load(tmp_path / "out")
    assert "\n" not in str(raised.value)
    with pytest.raises((InputError, RuntimeError)):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")


@pytest.mark.parametrize(("name", "index"), [("token_rows", -1), ("token_rows", 80), ("stream_coordinates", 30)])
def test_damaged_indices(small, tmp_path, name, index):
    save(small, tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    weights = load_file(file)
    full = next(each for each in weights if each.endswith(name))
    weights[full][-1] = index
    save_file(weights, file, {"format": "pt"})
    for opened in (load, AutoModel.from_pretrained):
        with pytest.raises(InputError, match=f"{name} in the weights has indices that do not fit"):
            opened(tmp_path / "out")


def test_what_needs_a_plan_says_so(tiny_bert, small, tmp_path):
    small.save_pretrained(tmp_path / "out")
    bare = load(tmp_path / "out")
    with pytest.raises(InputError, match=r"no plan says which of the \d+ they are"):
        infoprune.repair(bare, tiny_bert, make_batches())
    fewer = infoprune.apply_plan(
        tiny_bert, Plan("bert", {VOCABULARY: 100}, {VOCABULARY: tuple(range(90))}, "counts", 0)
    )
    fewer.save_pretrained(tmp_path / "fewer")
    with pytest.raises(InputError, match="read 90 and 100 tokens, and no plan says which are the same"):
        infoprune.distill(load(tmp_path / "fewer"), tiny_bert, make_batches())
