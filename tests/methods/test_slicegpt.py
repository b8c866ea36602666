"""The residual stream in its principal directions, against a dense model whose stream is projected."""

import re

import pytest
import torch
from tiny import captured
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from zoo import answers, build, inputs

from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.measuring.measure import count_parameters
from infoprune.methods.apply import collect_for, prune_by
from infoprune.methods.rotate import fold_norms, rotatable_stream, rotate
from infoprune.methods.slicegpt import principal_directions, prune_rotated
from infoprune.methods.table import METHODS
from infoprune.statistics.calibration import real_tokens
from infoprune.structure.sites import every_site
from infoprune.structure.stock import loads_in
from infoprune.tasks.compare import compare

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3")
SINGLE = {"rtol": 1e-5, "atol": 1e-5}  # these norms compute in float32, whatever their weights are


@pytest.fixture(params=[(name, tied) for name in FAMILIES for tied in (True, False)], ids=lambda p: f"{p[0]}-{p[1]}")
def model(request):
    name, tied = request.param
    return build(name, tie_word_embeddings=tied)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def llama(request):
    return build("llama", tie_word_embeddings=request.param)


def batches_of(model):
    return inputs(model.config.model_type)


def second_moment(model):
    """From what the readers are given, the gain of the norm before them taken away again, token by token."""
    inner, total = model.model, 0
    pairs = [(inner.norm, "lm_head")]
    for index, layer in enumerate(inner.layers):
        pairs.append((layer.input_layernorm, f"model.layers.{index}.self_attn.q_proj"))
        pairs.append((layer.post_attention_layernorm, f"model.layers.{index}.mlp.gate_proj"))
    for norm, path in pairs:
        with captured(model, path) as calls, torch.no_grad():
            for batch in batches_of(model):
                model(**batch)
        for (x, _), batch in zip(calls, batches_of(model), strict=True):
            for row in (x / norm.weight)[real_tokens(batch)]:
                total = total + torch.outer(row, row)
    return total.detach()


def projected(model, projector):
    """The answers of a model, all that is written to whose stream is projected."""
    inner = model.model
    writers = [
        inner.embed_tokens,
        *(each for layer in inner.layers for each in (layer.self_attn.o_proj, layer.mlp.down_proj)),
    ]
    handles = [writer.register_forward_hook(lambda _module, _x, y: y @ projector) for writer in writers]
    try:
        return answers(model, batches_of(model))
    finally:
        for handle in handles:
            handle.remove()


def test_folded_norms_change_nothing(model):
    folded, batches = fold_norms(model), batches_of(model)
    assert_close(answers(folded, batches), answers(model, batches), rtol=1e-12, atol=1e-12)
    for place in rotatable_stream(folded).read_points:
        assert bool((folded.get_submodule(place.norm).weight == 1).all())
    assert folded.get_output_embeddings().weight is not folded.get_input_embeddings().weight


def test_a_rotation_changes_nothing(model):
    folded, batches = fold_norms(model), batches_of(model)
    sampled = torch.linalg.qr(torch.randn(48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    for basis in (sampled, principal_directions(folded, batches)):
        turned = rotate(folded, basis)
        assert_close(answers(turned, batches), answers(model, batches), **SINGLE)
        assert not torch.equal(turned.get_input_embeddings().weight, folded.get_input_embeddings().weight)


def test_directions_are_those_of_the_second_moment(llama):
    values, vectors = torch.linalg.eigh(second_moment(llama))
    basis = principal_directions(fold_norms(llama), batches_of(llama))
    assert_close(basis.T @ basis, torch.eye(48, dtype=torch.float64))
    assert_close((basis.T @ second_moment(llama) @ basis).diagonal(), values.flip(0), rtol=1e-4, atol=1e-6)
    small, _ = prune_rotated(llama, batches_of(llama), Keep(0.5))
    table, kept = llama.get_input_embeddings().weight.detach(), vectors[:, 24:]
    said = small.get_input_embeddings().weight.detach()
    assert_close(said @ said.T, table @ kept @ kept.T @ table.T, **SINGLE)


@pytest.mark.parametrize("tied", [True, False])
def test_slicing_is_projecting(tied):
    """Where the norms' epsilon is nothing: it is added to the mean of fewer squares."""
    llama = build("llama", tie_word_embeddings=tied, rms_norm_eps=1e-14)
    _, vectors = torch.linalg.eigh(second_moment(llama))
    kept = vectors[:, 32:]
    small, plan = prune_rotated(llama, batches_of(llama), Keep(1 / 3))
    assert plan.counts == {"hidden-size": (16, 48)}
    wanted = projected(llama, kept @ kept.T)
    assert float((wanted - answers(llama, batches_of(llama))).abs().max()) > 0.1
    assert_close(answers(small, batches_of(llama)), wanted, **SINGLE)


def test_all_directions_are_the_identity(model):
    small, plan = prune_rotated(model, batches_of(model), Keep(1.0))
    assert plan.counts == {"hidden-size": (48, 48)}
    assert_close(answers(small, batches_of(model)), answers(model, batches_of(model)), **SINGLE)


def test_what_is_sliced_is_saved_and_loaded(model, tmp_path):
    before, batches = answers(model, batches_of(model)), batches_of(model)
    small, plan = prune_rotated(model, batches, Keep(0.5))
    assert torch.equal(answers(model, batches), before)
    assert plan.counts == {"hidden-size": (24, 48)}
    assert plan.criterion == "slicegpt"
    save(small, tmp_path / "out")
    again = load(tmp_path / "out")
    assert torch.equal(answers(again, batches), answers(small, batches))
    assert count_parameters(again) == count_parameters(small)
    assert not again.config.tie_word_embeddings
    if loads_in(every_site(small), {}) == "transformers":
        stock = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float64).eval()
        assert torch.equal(answers(stock, batches), answers(small, batches))


@pytest.mark.parametrize("quantity", ["params", "flops"])
def test_a_budget_is_that_of_the_model_as_it_was(llama, quantity):
    """Though a tied table becomes two when it is rotated."""
    batches = batches_of(llama)
    costs = find_costs(llama, quantity, batches, multiple=1)
    small, plan = prune_rotated(llama, batches, Budget(quantity, 0.7), costs)
    found = find_costs(small, quantity, batches, multiple=1).dense
    assert 0.5 * costs.dense < found <= 0.7 * costs.dense
    assert plan.counts["hidden-size"][0] < 48


def test_our_repair_starts_from_the_same_directions(llama):
    batches = batches_of(llama)
    statistics = collect_for([METHODS["slicegpt"], METHODS["wanda"]], llama, batches)
    own, plan = prune_by(METHODS["slicegpt"], llama, batches, statistics, Keep(0.5))
    ours, same = prune_by(METHODS["slicegpt"], llama, batches, statistics, Keep(0.5), finish="repair")
    assert plan == same
    assert compare(llama, ours, batches).kl < compare(llama, own, batches).kl


@pytest.mark.parametrize("name", ["gpt2", "bert", "vit"])
def test_other_norms_are_refused(name):
    with pytest.raises(InputError, match=rf"stream of this {name} cannot be rotated: what .* reads is not an RMSNorm"):
        prune_rotated(build(name), inputs(name), Keep(0.5))


@pytest.mark.parametrize("name", ["gemma2", "t5", "bart"])
def test_other_streams_are_refused(name):
    with pytest.raises(InputError, match=f"stream of this {name} cannot be rotated, expected a decoder alone"):
        prune_rotated(build(name), inputs(name), Keep(0.5))


def test_what_cannot_be_had(llama):
    batches = batches_of(llama)
    costs = find_costs(llama, "params", batches, structures=("ffn", "heads", "hidden-size"), multiple=1)
    with pytest.raises(InputError, match="budget of params needs the costs of the model"):
        prune_rotated(llama, batches, Budget("params", 0.5))
    with pytest.raises(InputError, match=re.escape("finish is 'means', expected 'cut' or 'repair'")):
        prune_rotated(llama, batches, Keep(0.5), finish="means")
    with pytest.raises(InputError, match="cannot be met"):
        prune_rotated(llama, batches, Budget("params", 1.01 * costs.least / costs.dense), costs)
