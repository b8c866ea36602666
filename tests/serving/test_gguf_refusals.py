"""What a GGUF file cannot express is refused with the reason, and a file is written completely or not at all."""

import sys
import tracemalloc

import pytest
import torch
from tiny_decoder import build_decoder, build_words, cut_freely
from torch import nn
from transformers import LlamaForSequenceClassification
from zoo import build

import infoprune
from infoprune.errors import InputError
from infoprune.jobs.export_gguf import export_gguf_folder
from infoprune.plan import Plan
from infoprune.serving.llama_cpp.export import check_gguf_file, export_gguf
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan


@pytest.fixture(scope="module")
def tokenizer():
    return build_words()


def refused(model, tokenizer, folder, message):
    with pytest.raises(InputError, match=message):
        export_gguf(model, tokenizer, folder / "model.gguf")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("model_type", ["gemma2", "gemma3_text"])
def test_gemma(model_type, tokenizer, tmp_path):
    said = (
        rf"{model_type} models are not written as .gguf \(its blocks end in norms.*\), expected one of: llama, mistral"
    )
    refused(build(model_type), tokenizer, tmp_path, said)


def test_other_types(tokenizer, tmp_path):
    refused(build("gpt2"), tokenizer, tmp_path, "gpt2 models are not written as .gguf, expected one of: llama, mistral")


def test_models_that_write_no_text(tokenizer, tmp_path):
    config = build_decoder().config
    model = LlamaForSequenceClassification(config)
    refused(model, tokenizer, tmp_path, "LlamaForSequenceClassification does not write text, expected a language model")


def test_a_free_qwen3_with_an_output_layer_of_its_own(tokenizer, tmp_path):
    """The remedy works: with sizes alike it can be written."""
    said = (
        "qwen3 has no sizes by layer; openelm has no output layer besides the embedding table.; prune with `shape=uni"
    )
    refused(cut_freely(build_decoder("qwen3")), tokenizer, tmp_path, said)
    assert export_gguf(build_decoder("qwen3"), tokenizer, tmp_path / "model.gguf").architecture == "qwen3"


def test_a_qwen3_with_scaled_frequencies(tokenizer, tmp_path):
    rope = {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}
    model = build_decoder("qwen3", rope_parameters=rope)
    said = "qwen3 has no scaled rotary frequencies; openelm has no scaled .* run this model in PyTorch"
    refused(model, tokenizer, tmp_path, said)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_frequencies_that_depend_on_the_length(kind, tokenizer, tmp_path):
    factors = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8} if kind == "longrope" else {}
    rope = {"rope_type": kind, "rope_theta": 500.0, "factor": 2.0, "original_max_position_embeddings": 128} | factors
    model = build_decoder(rope_parameters=rope)
    refused(model, tokenizer, tmp_path, f"depend on the length of the text .rope_type {kind}., expected constant ones")


def test_another_activation_function(tokenizer, tmp_path):
    refused(build_decoder(hidden_act="gelu"), tokenizer, tmp_path, "activation function is gelu, expected silu")


def test_a_hidden_size_per_layer(tokenizer, tmp_path):
    model = build_decoder()
    units = {site.name: site.units for site in find_sites(model, ("hidden-size-per-layer",))}
    kept = {name: tuple(range(n - 16 * index)) for index, (name, n) in enumerate(units.items())}
    small = apply_plan(model, Plan("llama", units, kept, "first", 0))
    refused(small, tokenizer, tmp_path, "the layers differ in hidden size, expected one for all in a .gguf file")


def test_weights_without_a_name(tokenizer, tmp_path):
    model = build_decoder()
    model.model.layers[1].self_attn.k_proj.scale = nn.Parameter(torch.ones(1))
    refused(model, tokenizer, tmp_path, r"has the weight model.layers.1.self_attn.k_proj.scale, expected only those")


def test_files(tokenizer, tmp_path):
    model = build_decoder()
    with pytest.raises(InputError, match=r"model.bin does not end in .gguf, expected the name of a GGUF file"):
        export_gguf(model, tokenizer, "model.bin")
    with pytest.raises(InputError, match=r"`type` is 'q4_0', expected one of: f32, f16, q8_0; pass e.g. `type=f16`"):
        check_gguf_file(tmp_path / "model.gguf", type="q4_0", force=False)
    (tmp_path / "model.gguf").write_text("old")
    with pytest.raises(InputError, match=r"model.gguf exists, expected a new file; .* pass `force=True`"):
        export_gguf(model, tokenizer, tmp_path / "model.gguf")
    export_gguf(model, tokenizer, tmp_path / "model.gguf", force=True)
    assert (tmp_path / "model.gguf").read_bytes()[:4] == b"GGUF"
    export_gguf(model, tokenizer, tmp_path / "new" / "model.gguf")
    assert (tmp_path / "new" / "model.gguf").read_bytes() == (tmp_path / "model.gguf").read_bytes()


def test_without_the_package(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused(
        build_decoder(), tokenizer, tmp_path, r"gguf is not installed, expected it for .gguf files; run pip install"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e5, r"the weights of blk.2.ffn_down.weight reach 1e.05, expected at most 6.6e.04 in f16; pass `type=f32`"),
        (float("nan"), r"blk.2.ffn_down.weight has weights that are NaN or infinite, expected finite ones"),
    ],
)
def test_a_failure_in_the_middle_leaves_the_old_file(value, message, tokenizer, tmp_path):
    model = build_decoder()
    model.model.layers[2].mlp.down_proj.weight.data[0, 0] = value
    (tmp_path / "model.gguf").write_text("old")
    with pytest.raises(InputError, match=message):
        export_gguf(model, tokenizer, tmp_path / "model.gguf", force=True)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"model.gguf": "old"}


def test_one_tensor_at_a_time_is_in_memory(tokenizer, tmp_path):
    model = build_decoder(hidden_size=256, intermediate_size=512, num_hidden_layers=8)
    export_gguf(build_decoder(), tokenizer, tmp_path / "first.gguf")  # imports
    tracemalloc.start()
    exported = export_gguf(model, tokenizer, tmp_path / "model.gguf")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < exported.bytes / 4


def test_the_job_reads_a_folder(tokenizer, tmp_path):
    model = cut_freely(build_decoder())
    infoprune.save(model, tmp_path / "cut", tokenizer)
    exported = export_gguf_folder(str(tmp_path / "cut"), str(tmp_path / "job.gguf"), type="q8_0")
    assert (exported.architecture, exported.type, exported.layers) == ("deci", "q8_0", 3)
    assert export_gguf(model, tokenizer, tmp_path / "library" / "job.gguf", type="q8_0").bytes == exported.bytes
    assert (tmp_path / "job.gguf").read_bytes() == (tmp_path / "library" / "job.gguf").read_bytes()


def test_the_job_refuses_before_the_weights_are_read(saved_bert, tmp_path):
    with pytest.raises(InputError, match="BertForSequenceClassification does not write text"):
        export_gguf_folder(saved_bert, tmp_path / "bert.gguf")
