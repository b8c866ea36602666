"""The table itself: its text in the docs and on the command line, and what is not in it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import test_contract
import test_depth
import torch
import transformers
from tiny_whisper import build_whisper
from zoo import answers, build, inputs

from infoprune.budgets.budget import Budget
from infoprune.cli import main
from infoprune.errors import InputError
from infoprune.families import FAMILIES, Rows
from infoprune.measuring.measure import example_length
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import Plan
from infoprune.statistics.calibration import with_targets
from infoprune.statistics.collect import collect
from infoprune.structure.catalogue import catalogue, catalogue_markdown
from infoprune.structure.linear import linear
from infoprune.structure.sites import find_sites
from infoprune.structure.slices import Slice
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_docs_have_the_table():
    assert catalogue_markdown() in (DOCS / "concepts" / "families.md").read_text(encoding="utf-8")


def test_the_command_line_has_the_table(capsys):
    assert main(["families", "--markdown"]) == 0
    assert capsys.readouterr().out == catalogue_markdown()
    assert main(["families"]) == 0
    printed = capsys.readouterr().out
    assert all(entry.model_type in printed for entry in catalogue())


def test_one_row_for_every_site_of_every_family():
    rows = [line for line in catalogue_markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == sum(
        sum(len({row.structure for row in stack.sites if not row.on_request}) for stack in family.stacks.values())
        + len(family.more_structures)
        for family in FAMILIES.values()
    )
    assert all(f"`{name}`" in catalogue_markdown() for name in FAMILIES)
    assert all(name == family.model_type for name, family in FAMILIES.items())


@pytest.fixture
def added():
    """The family that docs/development/add-a-family.md adds."""
    before = set(FAMILIES)
    (code,) = re.findall(
        r"```python\n(.*?)```", (DOCS / "development" / "add-a-family.md").read_text(encoding="utf-8"), re.DOTALL
    )
    exec(code, {})
    (new,) = FAMILIES.keys() - before
    yield FAMILIES[new]
    del FAMILIES[new]


def test_a_family_is_added_as_the_docs_say(added, tmp_path):
    assert added.model_type == "arcee"
    test_contract.test_slicing_is_masking(added, "sdpa")
    test_contract.test_a_full_plan_is_the_identity(added)
    test_contract.test_compensation_brings_back_a_copy(added)
    test_contract.test_repair_comes_nearer(added)
    test_contract.test_save_and_load(added, test_contract.even, tmp_path / "even")
    test_contract.test_save_and_load(added, test_contract.uneven, tmp_path / "uneven")
    test_contract.test_generation_with_a_cache(added)
    test_depth.test_leaving_out_is_masking(added, tmp_path / "gone")
    test_depth.test_going_on_from_a_cache(added)


def test_an_unknown_family():
    from transformers import MptConfig, MptForCausalLM

    model = MptForCausalLM(MptConfig(vocab_size=20, d_model=8, n_layers=1, n_heads=2))
    with pytest.raises(InputError, match=r"'mpt' is not supported.*bert.*docs/development/add-a-family\.md"):
        find_sites(model)
    assert (DOCS / "development" / "add-a-family.md").exists()


def test_a_family_that_needs_a_later_release_says_so(monkeypatch):
    model = build("bert")
    monkeypatch.setitem(FAMILIES, "bert", replace(FAMILIES["bert"], since="99.0.0"))
    words = rf"'bert' needs transformers 99\.0\.0 or newer, found {transformers.__version__}.*pip install"
    with pytest.raises(InputError, match=words):
        find_sites(model)
    monkeypatch.setitem(FAMILIES, "bert", replace(FAMILIES["bert"], since=transformers.__version__))
    assert find_sites(model)


def test_the_docs_say_which_release_a_family_needs():
    page = (DOCS / "research" / "compatibility.md").read_text(encoding="utf-8")
    for family in FAMILIES.values():
        if family.since is not None:
            assert re.search(rf"\| [^|]*{re.escape(family.models)}[^|]* \| {re.escape(family.since)} \|", page)


def test_the_docs_count_the_model_types():
    pages = (DOCS.parent / "README.md", DOCS / "index.md", DOCS / "concepts" / "limits.md")
    counts = [re.findall(r"(\d+) (?:supported )?model types|lists (\d+);", page.read_text("utf-8")) for page in pages]
    assert [int(one or other) for each in counts for one, other in each] == [len(FAMILIES)] * 3


def test_a_variant_that_the_rows_do_not_describe():
    with pytest.raises(InputError, match=r"opt has do_layer_norm_before=False, expected True"):
        find_sites(build("opt", do_layer_norm_before=False))
    with pytest.raises(InputError, match=r"gpt2 has add_cross_attention=True, expected False"):
        find_sites(build("gpt2", add_cross_attention=True))


def test_a_weight_of_another_shape_is_refused():
    model = build("modernbert")
    model.model.layers[0].mlp.Wi = torch.nn.Linear(48, 79)
    with pytest.raises(InputError, match=r"Wi has 79 outputs for 40 units of ffn, expected a multiple of 80"):
        find_sites(model)


def test_no_linear_module():
    model = build("bert")
    model.bert.encoder.layer[0].output.dense = torch.nn.Identity()
    with pytest.raises(InputError, match=r"is a Identity, expected torch\.nn\.Linear"):
        find_sites(model)


def test_a_layer_that_is_applied_often_is_one_site():
    model = build("albert", num_hidden_layers=4)
    assert [site.name for site in find_sites(model)] == ["layers.0.heads", "layers.0.ffn"]
    several = build("albert", num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2)
    assert [site.layer for site in find_sites(several, ["ffn"])] == [0, 1, 2, 3]


def test_relative_positions_that_share_the_projections():
    model = build("deberta-v2", share_att_key=True)
    plan = test_contract.plan_for(model, test_contract.uneven(model))
    small, plain = apply_plan(model, plan), test_contract.masked(model, plan)
    batches = inputs("deberta-v2")
    assert test_contract.relative(answers(small, batches), answers(plain, batches)) < 1e-12
    assert len(find_sites(model)[0].producers) == 3
    assert len(find_sites(build("deberta-v2", share_att_key=False))[0].producers) == 5


def test_encoder_and_decoder_have_sites_of_their_own():
    names = [site.name for site in find_sites(build("bart"))]
    assert names[:2] == ["layers.0.heads", "layers.0.ffn"]
    assert names[4:7] == ["decoder.0.heads", "decoder.0.cross-heads", "decoder.0.ffn"]
    assert len(names) == 10


@pytest.mark.parametrize(("model_type", "opens"), [("bart", "transformers"), ("t5", "infoprune")])
def test_two_stacks_with_two_fields_or_one(model_type, opens):
    model = build(model_type)
    sites = find_sites(model, ["ffn"])
    kept = {site.name: tuple(range(20 if site.stack == "decoder" else 30)) for site in sites}
    plan = test_contract.plan_for(model, kept)
    assert loads_in(sites, plan.counts) == opens
    assert [site.units for site in find_sites(apply_plan(model, plan), ["ffn"])] == [30, 30, 20, 20]


def test_a_gated_t5():
    model = build("t5", feed_forward_proj="gated-gelu")
    assert [len(site.producers) for site in find_sites(model, ["ffn"])] == [2] * 4
    plan = test_contract.plan_for(model, test_contract.uneven(model))
    batches = inputs("t5")
    small, plain = apply_plan(model, plan), test_contract.masked(model, plan)
    assert test_contract.relative(answers(small, batches), answers(plain, batches)) < 1e-12


def test_a_model_writes_what_its_decoder_reads():
    model = build("bart")
    bare = [{name: batch[name] for name in ("input_ids", "attention_mask")} for batch in inputs("bart")]
    with pytest.raises(InputError, match=r"decoder_input_ids.*with_targets"):
        collect(model, bare)
    written = with_targets(model, bare, length=9)
    statistics = collect(model, written)
    assert statistics.inputs == 5
    for batch, found in zip(bare, written, strict=True):
        first = {name: value[:1] for name, value in batch.items()}
        alone = model.generate(**first, max_new_tokens=9, do_sample=False)
        ids, end = alone[0].tolist(), model.config.eos_token_id
        assert ids[0] == end, "this decoder starts with the token that ends a text"
        length = ids.index(end, 1) + 1 if end in ids[1:] else len(ids)
        real = found["decoder_attention_mask"][0].bool()
        assert length > 1
        assert found["decoder_input_ids"][0][real].tolist() == ids[:length]
    assert with_targets(model, written) == written
    assert with_targets(build("bert"), bare) == bare


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("multilingual", [False, True])
def test_a_model_of_speech_writes_after_its_prompt(multilingual, beams):
    """Its `generate` returns what follows the prompt; after the prompt the decoder's outputs are what it wrote."""
    model = build_whisper()
    settings = {"no_timestamps_token_id": 90, "is_multilingual": multilingual, "num_beams": beams}
    if multilingual:
        settings |= {"lang_to_id": {"<|en|>": 3, "<|de|>": 4}}
        settings |= {"task": "transcribe", "task_to_id": {"transcribe": 5, "translate": 6}}
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    features = torch.randn(4, 6, 100, generator=torch.Generator().manual_seed(0))
    batch = {"input_features": features}
    (found,) = with_targets(model, [batch], length=9)
    ids = found["decoder_input_ids"]
    prompt = ids[:, : 4 if multilingual else 2]
    assert prompt[:, [0, -1]].tolist() == [[1, 90]] * 4
    if multilingual:
        assert prompt[:, 1].tolist() == model.detect_language(features).tolist()
        assert set(prompt[:, 2].tolist()) == {5}
    with torch.no_grad():
        outputs = model(**{**batch, "decoder_input_ids": ids}).logits.argmax(-1)
    wrote = ids[:, prompt.shape[1] :]
    real = found["decoder_attention_mask"][:, prompt.shape[1] :].bool()
    assert real[:, 0].all()
    if beams == 1:  # else a text is the likeliest as a whole
        assert outputs[:, prompt.shape[1] - 1 : -1][real].tolist() == wrote[real].tolist()


@pytest.mark.parametrize("end", [None, [2, 7]])
def test_a_text_that_no_token_or_any_of_several_ends(end):
    model, (batch, _) = build("bart"), inputs("bart")
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    bare = {name: batch[name] for name in ("input_ids", "attention_mask")}
    (written,) = with_targets(model, [bare], length=9)
    for ids, mask in zip(written["decoder_input_ids"], written["decoder_attention_mask"], strict=True):
        ends = [place for place, token in enumerate(ids.tolist()) if place > 0 and token in (end or ())]
        assert int(mask.sum()) == (ends[0] + 1 if ends else len(ids))


def test_a_stock_config_that_wants_a_divisor():
    """48 coordinates, 5 key/value heads of 2 queries: 48 is no multiple of 10, and Llama's config insists on that."""
    model = build("llama", num_attention_heads=12, num_key_value_heads=6)
    units = {site.name: 6 for site in find_sites(model, ["heads"])}

    def cut(count):
        return Plan("llama", units, dict.fromkeys(units, tuple(range(count))), "random", 0)

    five, four = cut(5), cut(4)
    assert loads_in(find_sites(model), five.counts) == "infoprune"
    assert apply_plan(model, five).config.num_key_value_heads == 6
    assert loads_in(find_sites(model), four.counts) == "transformers"
    small = apply_plan(model, four).config
    assert (small.num_attention_heads, small.num_key_value_heads, small.head_dim) == (8, 4, 8)


def test_layers_of_phi3_look_at_their_own_number_of_heads():
    model = build("phi3")
    plan = test_contract.plan_for(model, {"layers.0.heads": (0, 2), "layers.1.heads": (1,)})
    small = apply_plan(model, plan)
    attention = [layer.self_attn for layer in small.model.layers]
    assert [each.config.num_attention_heads for each in attention] == [4, 2]
    assert [each.num_key_value_heads for each in attention] == [2, 1]
    assert small.config.num_attention_heads == model.config.num_attention_heads == 6


def test_rows_of_a_fused_weight():
    fused = Slice("qkv", (4, 2, 2))  # two units: queries of 4 rows, keys and values of 2
    kept = torch.tensor([1])
    assert fused.rows(kept, units=2).tolist() == [4, 5, 6, 7, 10, 11, 14, 15]
    assert fused.owners(2).tolist() == [0] * 4 + [1] * 4 + [0, 0, 1, 1] * 2
    assert (fused.owners(2)[fused.rows(kept, units=2)] == 1).all()
    with_one_key_and_value = Slice("qkv", (2,), shared=3)
    assert with_one_key_and_value.rows(kept, units=2).tolist() == [2, 3, 4, 5, 6]
    assert with_one_key_and_value.owners(2).tolist() == [0, 0, 1, 1]
    assert with_one_key_and_value.rows(kept[:0], units=2).tolist() == []


def test_a_transposed_weight_is_seen_as_w():
    model = build("gpt2")
    path = "transformer.h.0.mlp.c_fc"
    stored, seen = model.get_submodule(path), linear(model, path)
    x = torch.randn(3, 48, dtype=torch.float64)
    torch.testing.assert_close(torch.nn.functional.linear(x, seen.weight, seen.bias), stored(x))
    seen.weight.zero_()  # it is the module's own memory
    assert stored.weight.count_nonzero() == 0
    assert Rows("mlp.c_fc").parts == (1,)


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
@pytest.mark.parametrize("fields", [{}, {"max_position_embeddings": -1}])
def test_an_encoder_without_a_position_limit(fields):
    """Of relative positions alone, such as Sentence-T5; a config says so by no number, or by one below 1."""
    model = build("t5", torch.float32, auto="AutoModelForTextEncoding", **fields)
    assert example_length(model.config, 9000) == 9000
    texts = [{name: batch[name] for name in ("input_ids", "attention_mask")} for batch in inputs("t5")]
    result = prune(model, texts, budget=Budget("flops", 0.8), settings=Settings(repair=False))
    assert result.report.pruned.flops <= 0.8 * result.report.dense.flops
    assert {name.split(".")[-1] for name, (kept, of) in result.report.kept.items() if kept < of} == {"heads", "ffn"}
