"""Laws of nearest rows that stand in for dropped tokens; the oracle is the dense model with its rows replaced."""

import copy

import onnxruntime
import pytest
import torch
import zoo
from accelerate import dispatch_model
from cuts import Slow, answering, cut
from tiny import divergence
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from unregistered import plain_transformers
from words import KINDS, SEEN, SENTENCES, tokenizer_for

from infoprune.budgets.budget import Budget
from infoprune.checkpoint import empty_model, load, save
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.measuring.measure import count_bytes, count_parameters
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import VOCABULARY, Plan, plan_of
from infoprune.repairing.repair import repair
from infoprune.serving.export import export
from infoprune.statistics.embedding_fisher import embedding_fisher
from infoprune.statistics.metric import fisher_metric
from infoprune.structure.embeddings import count_rows, count_tokens, tokens_by_role
from infoprune.surgery import apply_plan, outline
from infoprune.training.distill import Distillation, distill
from infoprune.vocabulary.tokens import TAU, prune_vocabulary, with_tokens_of

ALL = TextData(SENTENCES, None, None, "all")


def logits(model, batches):
    with torch.no_grad():
        return torch.cat([model(**batch).logits for batch in batches])


def replaced(model, token_map):
    """The dense model in which every token has the row of what stands in for it."""
    oracle = copy.deepcopy(model)
    table = oracle.get_input_embeddings().weight
    table.data = table.data[torch.tensor(token_map)]
    return oracle


@pytest.mark.parametrize("model_type", KINDS)
def test_it_is_the_dense_model_with_rows_replaced(model_type, tmp_path):
    model, small = cut(model_type)
    plan = plan_of(small.model)
    assert small.tokenizer is tokenizer_for(model_type), "the tokenizer stays as it is"
    assert count_rows(small.model) == len(plan.kept[VOCABULARY]) < count_rows(model) == count_tokens(small.model)
    assert small.model.config.vocab_size == model.config.vocab_size
    unseen = make_batches(ALL, small.tokenizer, batch_size=4)
    expected = logits(replaced(model, plan.token_map), unseen)
    torch.testing.assert_close(logits(small.model, unseen), expected, rtol=0, atol=1e-12)
    assert not torch.equal(expected, logits(model, unseen)), "some tokens are gone"
    save(small.model, tmp_path / "out", small.tokenizer)
    again = load(tmp_path / "out")
    assert plan_of(again) == plan
    assert torch.equal(logits(again, unseen), logits(small.model, unseen))
    assert again.get_input_embeddings().padding_idx == small.model.get_input_embeddings().padding_idx
    assert empty_model(tmp_path / "out").num_parameters() == again.num_parameters()
    with plain_transformers(), pytest.raises(RuntimeError, match="size"):
        type(model).from_pretrained(tmp_path / "out")
    back = type(model).from_pretrained(tmp_path / "out", dtype="auto")
    assert torch.equal(logits(back, unseen), logits(small.model, unseen))
    assert back.get_input_embeddings().padding_idx == small.model.get_input_embeddings().padding_idx


@pytest.mark.parametrize("model_type", KINDS)
def test_texts_of_kept_tokens_are_answered_as_before(model_type):
    model, small = cut(model_type, dtype=torch.float32)
    seen = make_batches(SEEN, small.tokenizer)
    assert torch.equal(logits(small.model, seen), logits(model, seen))
    assert plan_of(small.model).nats_lost == 0
    kept = set(plan_of(small.model).kept[VOCABULARY])
    needed = {i for batch in seen for i in batch["input_ids"].flatten().tolist()}
    roles = {i for ids in tokens_by_role(model).values() for i in ids}
    assert kept == needed | roles | {*small.tokenizer.all_special_ids, *small.tokenizer.get_added_vocab().values()}


def test_what_stands_in_costs_the_least_that_any_kept_row_would():
    model, small = cut()
    plan, tokenizer = plan_of(small.model), small.tokenizer
    metric = fisher_metric(embedding_fisher(model, make_batches(SEEN, tokenizer)), TAU)
    table = model.get_input_embeddings().weight.detach()
    for token, chosen in enumerate(plan.token_map):
        steps = table[list(plan.kept[VOCABULARY])] - table[token]
        costs = ((steps @ metric) * steps).sum(1)
        assert plan.kept[VOCABULARY][int(costs.argmin())] == chosen


def test_it_loses_less_than_other_rows_would():
    """New texts, the sum over models; the oracle draws what stands in."""
    seed_run, found, others = torch.Generator().manual_seed(0), 0.0, 0.0
    for seed in range(6):
        model, small = cut(seed=seed)
        plan, new = plan_of(small.model), make_batches(ALL, small.tokenizer)
        found += divergence(logits(model, new), logits(small.model, new))
        kept = torch.tensor(plan.kept[VOCABULARY])
        for _ in range(9):
            sampled = kept[torch.randint(len(kept), (len(plan.token_map),), generator=seed_run)]
            sampled[kept] = kept
            others += divergence(logits(model, new), logits(replaced(model, sampled.tolist()), new)) / 9
    assert found < 0.8 * others


def test_extra_tokens_and_rare_ones():
    few, more, rare = (
        plan_of(cut(options=o)[1].model).kept[VOCABULARY] for o in ({}, {"extra_tokens": 5}, {"min_count": 2})
    )
    assert len(more) == len(few) + 5
    assert set(rare) < set(few) < set(more)
    assert plan_of(cut(options={"min_count": 2})[1].model).nats_lost is None
    shares = [cut(options=o)[1].missing for o in ({"min_count": 2}, {}, {"extra_tokens": 5}, {"extra_tokens": 1000})]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_all_of_the_given_inputs_tell_the_demand():
    model, tokenizer = answering()
    other = make_batches(ALL, tokenizer)
    plans = [
        plan_of(prune_vocabulary(model, tokenizer, SEEN, dropped_tokens="remap", batches=batches).model)
        for batches in (None, make_batches(SEEN, tokenizer), other)
    ]
    assert plans[0] == plans[1]
    assert plans[0].kept == plans[2].kept
    assert plans[0].token_map != plans[2].token_map


def test_nothing_of_what_was_given_changes():
    model, tokenizer = answering("roberta")
    weights, config, words = copy.deepcopy(model.state_dict()), model.config.to_dict(), tokenizer.get_vocab()
    prune_vocabulary(model, tokenizer, SEEN, dropped_tokens="remap")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert (model.config.to_dict(), tokenizer.get_vocab(), plan_of(model)) == (config, words, None)
    assert not model.get_input_embeddings()._forward_pre_hooks


def test_two_cuts_are_one_plan(tmp_path):
    model, first = cut(data=ALL)
    second = prune_vocabulary(first.model, first.tokenizer, SEEN)
    assert plan_of(second.model).kept == plan_of(cut()[1].model).kept
    new = make_batches(TextData(("unwatchable nonsense, zq", *SENTENCES), None, None, "new"), first.tokenizer)
    expected = logits(replaced(model, plan_of(second.model).token_map), new)
    torch.testing.assert_close(logits(second.model, new), expected, rtol=0, atol=1e-12)
    assert torch.equal(logits(apply_plan(model, plan_of(second.model)), new), logits(second.model, new))
    save(second.model, tmp_path / "out")
    assert torch.equal(logits(load(tmp_path / "out"), new), logits(second.model, new))


def test_a_plan_goes_through_its_file():
    plan = plan_of(cut()[1].model)
    assert Plan.from_json(plan.to_json()) == plan
    assert "token_map" not in plan.after().to_json()
    assert plan.mapped == plan.units[VOCABULARY] - len(plan.kept[VOCABULARY]) > 0


def test_costs_count_the_numbers():
    model, small = cut(dtype=torch.float32)
    gone = plan_of(small.model).mapped
    assert count_parameters(model) - count_parameters(small.model) == gone * model.config.hidden_size
    saved = 4 * gone * model.config.hidden_size
    assert count_bytes(model) - count_bytes(small.model) == saved - 4 * count_tokens(model)
    thin = outline(small.model, {"layers.0.ffn": 8})
    assert count_bytes(small.model) - count_bytes(thin) == 4 * (zoo.NEURONS - 8) * (2 * model.config.hidden_size + 1)


# What follows such a cut


def test_other_sites_are_cut_after_it(tmp_path):
    _, small = cut(dtype=torch.float32)
    batches = make_batches(SEEN, small.tokenizer, max_length=32)
    result = prune(
        small.model, batches, budget=Budget("bytes", 0.7), structures=("ffn", "heads", "hidden-size-per-layer")
    )
    plan = plan_of(result.model)
    assert plan.token_map == plan_of(small.model).token_map
    assert count_bytes(result.model) <= 0.7 * count_bytes(small.model)
    assert (result.report.loads_in, result.report.mapped) == ("infoprune", plan.mapped)
    save(result.model, tmp_path / "out", small.tokenizer)
    new = make_batches(ALL, small.tokenizer)
    assert torch.equal(logits(load(tmp_path / "out"), new), logits(result.model, new))


def test_it_may_come_after_other_sites_without_being_asked_for():
    model, tokenizer = answering()
    half = prune(model, make_batches(SEEN, tokenizer), keep=0.5).model
    small = prune_vocabulary(half, tokenizer, SEEN)
    assert plan_of(small.model).token_map is not None, "infoprune.load has to open it anyway"
    assert plan_of(small.model).kept["layers.0.ffn"] == plan_of(half).kept["layers.0.ffn"]
    new = make_batches(ALL, tokenizer)
    expected = logits(replaced(half, plan_of(small.model).token_map), new)
    torch.testing.assert_close(logits(small.model, new), expected, rtol=0, atol=1e-12)
    assert plan_of(prune_vocabulary(model, tokenizer, SEEN).model).token_map is None, "transformers opens this one"
    stock = prune(model, make_batches(SEEN, tokenizer), keep=0.5, structures=("ffn",)).model
    assert plan_of(prune_vocabulary(stock, tokenizer, SEEN).model).token_map is None


def test_the_dense_model_repairs_and_teaches_it():
    model, small = cut(dtype=torch.float32)
    assert with_tokens_of(model, small.model) is model
    batches = make_batches(ALL, small.tokenizer)
    thin = prune(small.model, batches, keep=0.5, structures=("ffn",), settings=Settings(repair=False)).model
    assert divergence(logits(model, batches), logits(repair(thin, model, batches), batches)) < divergence(
        logits(model, batches), logits(thin, batches)
    )
    taught = distill(
        thin, model, batches, how=Distillation(epochs=3, learning_rate=1e-3, freeze_embeddings=False)
    ).model
    assert plan_of(taught) == plan_of(thin)
    assert count_rows(taught) == count_rows(small.model)
    assert not torch.equal(taught.get_input_embeddings().weight, thin.get_input_embeddings().weight)


def test_a_graph_answers_alike(tmp_path):
    _, small = cut(dtype=torch.float32)
    batches = make_batches(ALL, small.tokenizer, batch_size=3)
    exported = export(small.model, tmp_path / "small.onnx", batches)
    assert exported.difference < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in batches[-1].items()})
    torch.testing.assert_close(torch.tensor(found), logits(small.model, batches[-1:]), rtol=0, atol=1e-5)


def test_where_the_table_lies_changes_nothing(tmp_path):
    """The table comes from disk when it is called."""
    model, small = cut(dtype=torch.float32)
    places = {"bert.embeddings": "disk", "bert.encoder": "cpu", "bert.pooler": "cpu", "classifier": "cpu"}
    away = dispatch_model(copy.deepcopy(model), places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    assert away.get_input_embeddings().weight.is_meta
    again = prune_vocabulary(away, small.tokenizer, SEEN, dropped_tokens="remap")
    assert plan_of(again.model) == plan_of(small.model)
    new = make_batches(ALL, small.tokenizer)
    assert torch.equal(logits(again.model, new), logits(small.model, new))


def test_a_slow_tokenizer():
    model, tokenizer = answering()
    slow = copy.copy(tokenizer)
    slow.__class__ = Slow
    small, fast = (
        prune_vocabulary(model, each, SEEN, dropped_tokens="remap", extra_tokens=2) for each in (slow, tokenizer)
    )
    assert small.tokenizer is slow
    assert len(plan_of(small.model).kept[VOCABULARY]) == len(plan_of(fast.model).kept[VOCABULARY])
    assert 0 < small.missing < 1


def test_a_tokenizer_of_another_kind():
    words = {word: i for i, word in enumerate(["[UNK]", "[PAD]", *sorted(set(" ".join(SENTENCES).split()))])}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")
    model = zoo.build("bert", vocab_size=len(words), pad_token_id=1)
    small = prune_vocabulary(model, tokenizer, SEEN, dropped_tokens="remap")
    roles = {i for ids in tokens_by_role(model).values() for i in ids}
    assert set(plan_of(small.model).kept[VOCABULARY]) == {0, 1} | roles | {
        words[w] for w in " ".join(SEEN.texts).split()
    }


def test_tokens_added_after_it(tmp_path):
    _, small = cut()
    model, seen = small.model, make_batches(SEEN, small.tokenizer)
    tokens, before = count_tokens(model), logits(model, seen)
    model.resize_token_embeddings(tokens + 2)
    new = {"input_ids": torch.tensor([[tokens, tokens + 1]])}
    assert torch.equal(logits(model, seen), before)
    assert torch.equal(model.get_input_embeddings()(new["input_ids"]), model.get_input_embeddings().weight[None, -2:])
    model.save_pretrained(tmp_path / "plain")
    assert torch.equal(logits(type(model).from_pretrained(tmp_path / "plain", dtype="auto"), seen), before)
    save(model, tmp_path / "more")
    for again in (load(tmp_path / "more"), type(model).from_pretrained(tmp_path / "more", dtype="auto")):
        assert torch.equal(logits(again, seen), before)
        assert torch.equal(logits(again, [new]), logits(model, [new]))
    assert plan_of(load(tmp_path / "more")) == plan_of(model)


def test_a_table_that_was_shortened_is_refused():
    kept = (*range(7), *range(8, 100))
    plan = Plan("bert", {VOCABULARY: 100}, {VOCABULARY: kept}, "counts", 0, None, (*range(7), 99, *range(8, 100)))
    small = apply_plan(zoo.build("bert"), plan)
    small.resize_token_embeddings(50)
    for called in (small, small.base_model):
        with pytest.raises(InputError, match="shortened to 50 rows, but the tokens of this model are remapped to 99"):
            called(input_ids=torch.tensor([[1, 2]]))
