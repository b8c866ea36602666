"""llama.cpp answers from a GGUF file as PyTorch does from the model."""

import json

import gguf
import pytest
import torch
from llama_cpp import LlamaCpp
from tiny_decoder import SIZES, build_decoder, build_words, cut_freely

import infoprune
from infoprune.cli import main
from infoprune.plan import Plan
from infoprune.serving.llama_cpp.export import export_gguf
from infoprune.structure.sites import every_site, find_sites
from infoprune.surgery import apply_plan

PROMPT = torch.randint(3, 128, (1, 20), generator=torch.Generator().manual_seed(1))
SCALED = {"rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 64}
ROPES = {
    "llama3": SCALED | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "linear": {"rope_theta": 500.0, "factor": 4.0, "rope_type": "linear"},
    "yarn": SCALED | {"rope_type": "yarn"},
}
FAMILIES = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"tie_word_embeddings": True}),
} | {f"llama, {name}": ("llama", {"rope_parameters": rope}) for name, rope in ROPES.items()}


@pytest.fixture(scope="module")
def tokenizer():
    return build_words()


def greedy(model, length):
    """The greedy tokens after the prompt, and the log-probabilities at every step."""
    tokens, steps = PROMPT, []
    with torch.no_grad():
        for _ in range(length):
            steps.append(model(tokens).logits[0, -1].double().log_softmax(-1))
            tokens = torch.cat([tokens, steps[-1].argmax()[None, None]], 1)
    return tokens[0, PROMPT.shape[1] :].tolist(), steps


def difference(model, file, length=6, **settings):
    """The largest difference of a log-probability over greedy tokens, which have to be equal."""
    wanted, expected = greedy(model, length)
    got, steps = LlamaCpp(file, **settings).write(PROMPT[0].tolist(), length, SIZES["vocab_size"])
    assert got == wanted
    assert {len(step) for step in steps} == {SIZES["vocab_size"]}
    return max(abs(step[i] - float(expected[n][i])) for n, step in enumerate(steps) for i in step)


def header(file):
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("sizes", ["alike", "by layer"])
def test_the_answers_are_those_of_pytorch(name, sizes, tokenizer, tmp_path):
    model_type, settings = FAMILIES[name]
    model = build_decoder(model_type, **settings)
    if sizes == "by layer":
        model = cut_freely(model)
    exported = export_gguf(model, tokenizer, tmp_path / "model.gguf", type="f32")
    own, free = {"qwen2": ("qwen2", "deci"), "qwen3": ("qwen3", "openelm")}.get(model_type, ("llama", "deci"))
    assert exported.architecture == (own if sizes == "alike" else free)
    assert exported.bytes == (tmp_path / "model.gguf").stat().st_size
    assert difference(model, tmp_path / "model.gguf") < 1e-4


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
@pytest.mark.parametrize(
    "empty",
    [
        ("layers.0.heads",),
        ("layers.2.heads",),
        ("layers.0.ffn", "layers.2.ffn"),
        ("layers.0.heads", "layers.1.heads", "layers.2.heads", "layers.1.ffn"),
        ("layers.0.heads", "layers.0.ffn"),
    ],
    ids=lambda names: " ".join(names).replace("layers.", ""),
)
def test_layers_without_heads_or_neurons(model_type, empty, tokenizer, tmp_path):
    model = cut_freely(build_decoder(model_type, tie_word_embeddings=True), empty)
    exported = export_gguf(model, tokenizer, tmp_path / "model.gguf", type="f32")
    silent = sum({f"layers.{index}.heads", f"layers.{index}.ffn"} <= {*empty} for index in range(3))
    assert exported.layers == 3 - silent, "a layer that adds nothing is not written"
    assert difference(model, tmp_path / "model.gguf") < 1e-4


def test_a_model_of_which_nothing_is_left_but_its_embeddings(tokenizer, tmp_path):
    sites = [site.name for site in find_sites(build_decoder())]
    model = cut_freely(build_decoder(), sites)
    assert export_gguf(model, tokenizer, tmp_path / "model.gguf", type="f32").layers == 1
    assert difference(model, tmp_path / "model.gguf") < 1e-4


@pytest.mark.parametrize(
    ("layer", "biases"),
    [(0, ("attention_bias", "mlp_bias")), (1, ("attention_bias",)), (1, ("mlp_bias",)), (2, ("mlp_bias",))],
)
def test_a_silent_block_may_still_add_a_constant(layer, biases, tokenizer, tmp_path):
    """What a removed attention outputs in the mean, or a removed network, is in the bias of its last matrix."""
    dense = build_decoder(**dict.fromkeys(biases, True))
    model = cut_freely(dense, (f"layers.{layer}.heads", f"layers.{layer}.ffn"))
    exported = export_gguf(model, tokenizer, tmp_path / "model.gguf", type="f32")
    assert (exported.architecture, exported.layers) == ("deci", 3)
    assert difference(model, tmp_path / "model.gguf") < 1e-4


def test_a_removed_layer_leaves_the_others_alike(tokenizer, tmp_path):
    """After a cut in depth alone, the file is of the family's own architecture, with fewer layers."""
    model = build_decoder()
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: () if ".1." in name else tuple(range(n)) for name, n in units.items()}
    small = apply_plan(model, Plan("llama", units, kept, "first", 0))
    exported = export_gguf(small, tokenizer, tmp_path / "model.gguf", type="f32")
    assert (exported.architecture, exported.layers) == ("llama", 2)
    assert difference(small, tmp_path / "model.gguf") < 1e-4


@pytest.mark.parametrize(
    ("model_type", "architecture"), [("llama", "llama"), ("qwen2", "deci"), ("qwen3", "qwen3")], ids=lambda name: name
)
def test_smaller_sizes_that_are_alike(model_type, architecture, tokenizer, tmp_path):
    """llama.cpp's qwen2 expects the heads to fill the hidden size."""
    model = build_decoder(model_type)
    for names in (("hidden-size",), [site.name for site in find_sites(model)]):
        units = {site.name: site.units for site in every_site(model) if site.name in names}
        kept = {name: tuple(range(0, n, 2)) for name, n in units.items()}
        small = apply_plan(model, Plan(model_type, units, kept, "first", 0))
        exported = export_gguf(small, tokenizer, tmp_path / "model.gguf", type="f32", force=True)
        assert exported.architecture == architecture
        assert difference(small, tmp_path / "model.gguf") < 1e-4


@pytest.mark.parametrize(("form", "most"), [("f32", 0.05), ("f16", 0.1), ("q8_0", 1.5)])
def test_number_formats_as_llama_cpp_runs_them(form, most, tokenizer, tmp_path):
    """With the settings that users get: keys, values and products in 16 bits."""
    model = cut_freely(build_decoder())
    exported = export_gguf(model, tokenizer, tmp_path / "model.gguf", type=form)
    assert exported.type == form
    expected = greedy(model, 1)[1][0]
    _, (step,) = LlamaCpp(tmp_path / "model.gguf", exact=False).write(PROMPT[0].tolist(), 1, SIZES["vocab_size"])
    assert len(step) == SIZES["vocab_size"]
    assert max(abs(step[i] - float(expected[i])) for i in step) < most


def test_matrices_have_the_format_and_vectors_32_bits(tokenizer, tmp_path):
    model = cut_freely(build_decoder("qwen2"))
    for form in ("f16", "q8_0"):
        export_gguf(model, tokenizer, tmp_path / f"{form}.gguf", type=form)
        for tensor in gguf.GGUFReader(tmp_path / f"{form}.gguf").tensors:
            assert tensor.tensor_type.name == ("F32" if len(tensor.shape) == 1 else form.upper()), tensor.name


def test_rows_that_are_no_whole_blocks_have_16_bits(tokenizer, tmp_path):
    model = build_decoder(hidden_size=48)
    export_gguf(model, tokenizer, tmp_path / "model.gguf", type="q8_0")
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert (types["blk.0.attn_q.weight"], types["blk.0.attn_output.weight"]) == ("F16", "Q8_0")


def test_a_window_limits_the_context(tokenizer, tmp_path):
    """llama.cpp has no windows for these families; up to the size of one there is no difference."""
    model = build_decoder("mistral", sliding_window=16)
    exported = export_gguf(model, tokenizer, tmp_path / "model.gguf")
    assert exported.context == header(tmp_path / "model.gguf")["llama.context_length"] == 16


def test_the_model_is_not_changed_and_may_be_in_half_precision(tokenizer, tmp_path):
    model = cut_freely(build_decoder()).to(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_gguf(model, tokenizer, tmp_path / "model.gguf", type="f32")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    table = torch.from_numpy(written["token_embd.weight"].data.copy())
    assert torch.equal(table, model.model.embed_tokens.weight.float())


def test_the_command(tokenizer, tmp_path, capsys):
    infoprune.save(cut_freely(build_decoder()), tmp_path / "cut", tokenizer)
    file = tmp_path / "cut.gguf"
    assert main(["export", str(tmp_path / "cut"), str(file), "--type", "q8_0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "file": str(file),
        "type": "q8_0",
        "bytes": file.stat().st_size,
        "architecture": "deci",
        "layers": 3,
        "context": 256,
    }
    assert main(["export", str(tmp_path / "cut"), str(file)]) == 2
    assert "expected a new file; choose another name or pass --force" in capsys.readouterr().err
