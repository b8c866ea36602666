import copy
from dataclasses import replace

import pytest
import torch
from tiny import divergence, logits_of, make_batches
from torch.testing import assert_close
from zoo import build, cast, inputs

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.plan import Plan, plan_of
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.training.distill import Distillation, distill, learning_rate
from infoprune.training.distillation_loss import DistillationLoss

BATCHES = make_batches(((7, 12, 9, 10), (12, 8, 11, 5)) * 16)
QUICK = Distillation(epochs=2, learning_rate=5e-3, patience=1, bf16=False)


def cut(dense, share, structures=None):
    units = {site.name: site.units for site in find_sites(dense, structures)}
    kept = {name: tuple(range(int(n * share))) for name, n in units.items()}
    return apply_plan(dense, Plan("bert", units, kept, "first", 0))


def quartered(dense):
    return cut(dense, 0.25)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


def test_a_distilled_model_is_nearer_on_texts_it_has_not_seen(tiny_bert):
    small = quartered(tiny_bert)
    before = state(small), state(tiny_bert)
    calls = []
    result = distill(small, tiny_bert, BATCHES, how=QUICK, progress=lambda done, of: calls.append((done, of)))
    assert same(before[0], state(small))
    assert same(before[1], state(tiny_bert))
    fresh = make_batches(((9, 6, 11, 8),) * 4, seed=9)
    dense = logits_of(tiny_bert, fresh)
    assert divergence(dense, logits_of(result.model, fresh)) < 0.7 * divergence(dense, logits_of(small, fresh))
    assert result.kl < 0.7 * result.kl_before
    assert calls == [(step, result.steps) for step in range(1, result.steps + 1)]
    assert same(state(small.bert.embeddings), state(result.model.bert.embeddings)), "frozen by default"
    assert all(parameter.requires_grad for parameter in result.model.parameters())


def test_the_same_seed_gives_the_same_model(tiny_bert):
    small = quartered(tiny_bert)
    first, again, other = (state(distill(small, tiny_bert, BATCHES, how=QUICK, seed=s).model) for s in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [1, 17, 30])
def test_a_killed_training_goes_on_as_if_nothing_had_been(tiny_bert, tmp_path, step):
    small, how = quartered(tiny_bert), Distillation(epochs=1.5, bf16=False)
    whole = state(distill(small, tiny_bert, BATCHES, how=how).model)

    def kill(done, of):
        if done == step:
            raise Killed

    with pytest.raises(Killed):
        distill(small, tiny_bert, BATCHES, how=how, folder=tmp_path, progress=kill)
    calls = []
    resumed = distill(small, tiny_bert, BATCHES, how=how, folder=tmp_path, progress=lambda done, of: calls.append(done))
    assert same(whole, state(resumed.model))
    assert calls[0] <= step, "not past where it was killed"
    assert (calls[0] > 1) == (step > 1), "what was done is not done again"

    taken = distill(small, tiny_bert, BATCHES, how=how, folder=tmp_path, progress=lambda *_: pytest.fail("trains"))
    assert same(whole, state(taken.model))
    assert taken.steps == 0


def test_a_checkpoint_cut_short_is_passed_over(tiny_bert, tmp_path):
    small, how = quartered(tiny_bert), Distillation(epochs=1, bf16=False)
    whole = state(distill(small, tiny_bert, BATCHES, how=how).model)

    def kill(done, of):
        if done == 20:
            raise Killed

    with pytest.raises(Killed):
        distill(small, tiny_bert, BATCHES, how=how, folder=tmp_path, progress=kill)
    (place,) = tmp_path.iterdir()
    broken = place / "checkpoint-21"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half")
    assert same(whole, state(distill(small, tiny_bert, BATCHES, how=how, folder=tmp_path).model))


def test_checkpoints_of_another_training_are_left_alone(tiny_bert, tmp_path):
    small = quartered(tiny_bert)
    plain = state(distill(small, tiny_bert, BATCHES, how=QUICK, seed=1).model)
    distill(small, tiny_bert, BATCHES, how=QUICK, seed=0, folder=tmp_path)
    assert same(plain, state(distill(small, tiny_bert, BATCHES, how=QUICK, seed=1, folder=tmp_path).model))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pruned_checkpoint_is_distilled_saved_and_loaded(tiny_bert, tmp_path):
    save(quartered(tiny_bert), tmp_path / "small")
    result = distill(load(tmp_path / "small"), tiny_bert, BATCHES, how=QUICK)
    save(result.model, tmp_path / "better")
    again = load(tmp_path / "better")
    assert same(state(again), state(result.model))
    assert plan_of(again) == plan_of(load(tmp_path / "small"))


@pytest.mark.parametrize(
    ("family", "auto"),
    [
        ("bert", "AutoModel"),
        ("bert", "AutoModelForTokenClassification"),
        ("bert", "AutoModelForQuestionAnswering"),
        ("gpt2", "AutoModelForCausalLM"),
        ("llama", "AutoModelForSequenceClassification"),
        ("vit", None),
    ],
)
def test_every_task(family, auto):
    dense, student = (build(family, torch.float32, auto, seed, num_labels=2) for seed in (0, 1))
    batches = [dict(batch) for batch in cast(inputs(family), torch.float32)] * 12
    result = distill(student, dense, batches, how=replace(QUICK, repeats=1))  # one input: let it vary
    assert result.kl < 0.7 * result.kl_before
    own = DistillationLoss(dense, dense, batches, 2.0, 1.0, 0.0)
    with torch.no_grad():
        assert_close(own.eval()(0, batches[0])["loss"], torch.tensor(0.0), atol=1e-6, rtol=0)
        assert own.train()(1, batches[0])["loss"] < 1e-4  # but for the rounding of hidden states


def test_unlike_widths_meet_through_maps_that_are_dropped(make_tiny_bert):
    dense, narrow = make_tiny_bert(), make_tiny_bert(hidden_size=16, seed=1)
    distillation_loss = DistillationLoss(narrow, dense, BATCHES[:4], 2.0, 1.0, 0.0)
    with torch.no_grad():
        for layer, map_ in enumerate(distillation_loss.maps, start=1):
            g, h = (
                torch.cat(
                    [
                        m(**b, output_hidden_states=True).hidden_states[layer][b["attention_mask"].bool()]
                        for b in BATCHES[:4]
                    ]
                )
                for m in (narrow, dense)
            )
            best = torch.linalg.lstsq(g, h).solution.T
            unlike = [(g @ w.T - h).square().sum() for w in (map_.weight, best, torch.zeros_like(best))]
            assert unlike[1] <= unlike[0] < 0.5 * unlike[1] + 0.5 * unlike[2]
    result = distill(narrow, dense, BATCHES, how=QUICK)
    assert result.kl < result.kl_before
    assert state(result.model).keys() == state(narrow).keys()


def test_widths_are_those_of_the_hidden_states_whatever_the_config_says(make_tiny_bert):
    dense, narrow = make_tiny_bert(), make_tiny_bert(hidden_size=16, seed=1)
    plain = DistillationLoss(narrow, dense, BATCHES[:4], 2.0, 1.0, 0.0)
    narrow.config.hidden_size = dense.config.hidden_size
    told = DistillationLoss(narrow, dense, BATCHES[:4], 2.0, 1.0, 0.0)
    assert [tuple(map_.weight.shape) for map_ in told.maps] == [(dense.config.hidden_size, 16)] * 2
    assert same(state(plain.maps), state(told.maps))


def test_tied_weights_stay_tied(tiny_bert, tmp_path):
    small = quartered(tiny_bert)
    first, second = (small.bert.encoder.layer[i].output.dense for i in (0, 1))
    second.weight = first.weight
    result = distill(small, tiny_bert, BATCHES, how=QUICK, folder=tmp_path)
    first, second = (result.model.bert.encoder.layer[i].output.dense for i in (0, 1))
    assert first.weight is second.weight
    assert result.kl < result.kl_before
    assert same(state(result.model), state(distill(small, tiny_bert, BATCHES, how=QUICK, folder=tmp_path).model))


def test_a_training_that_does_harm_gives_back_what_went_in(tiny_bert):
    small = copy.deepcopy(tiny_bert)  # nothing can be nearer
    calls = []
    how = Distillation(epochs=8, learning_rate=1e-2, bf16=False)
    with pytest.warns(UserWarning, match=r"KL .* on held-out inputs, .* before, so the model from before .* is kept"):
        result = distill(small, tiny_bert, BATCHES[:20], how=how, progress=lambda done, of: calls.append((done, of)))
    assert same(state(result.model), state(small))
    assert result.kl == result.kl_before == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("batches", "patience", "least"),
    [
        (20, 0.1, 38 + 38),  # 20 epochs of 19 batches: a tenth of them is warm-up
        (8, 0.01, 14 + 7),  # never less than an epoch
        (8, 1, 140),  # to its end
    ],
)
def test_it_ends_early_where_it_gets_no_better(tiny_bert, batches, patience, least):
    how = Distillation(epochs=20, learning_rate=1e-2, patience=patience, bf16=False)
    calls = []
    small = copy.deepcopy(tiny_bert)  # nothing can be nearer, so the first look is the best
    with pytest.warns(UserWarning, match="is kept"):
        distill(small, tiny_bert, BATCHES[:batches], how=how, progress=lambda *call: calls.append(call))
    done, of = calls[-1]
    assert least <= done <= least + 10, "found at the next look"
    assert (done < of) == (patience < 1)


def test_the_more_hidden_states_miss_the_faster_it_learns(make_tiny_bert):
    dense, other = make_tiny_bert(), make_tiny_bert(seed=1)
    examples = [{"number": number, "batch": batch} for number, batch in enumerate(BATCHES[:3])]
    shares, small = [], cut(dense, 0.9, ["ffn"])
    for batch in BATCHES[:3]:
        real = batch["attention_mask"].bool()
        with torch.no_grad():
            ours, theirs = (model(**batch, output_hidden_states=True).hidden_states for model in (small, dense))
        for g, h in zip(ours[1:], theirs[1:], strict=True):
            shares.append(float((g[real] - h[real]).square().sum() / (len(h[real]) - 1) / h[real].var(0).sum()))
    rates = {
        name: learning_rate(DistillationLoss(student, dense, BATCHES[:3], 2.0, hidden, 0.0), examples)
        for name, student, hidden in [
            ("small", small, 1.0),
            ("small, logits alone", small, 0.0),
            ("whole", dense, 1.0),
            ("another", other, 1.0),
        ]
    }
    assert rates["small"] == pytest.approx(2e-3 * (sum(shares) / len(shares)) ** 2, rel=1e-2)
    assert rates["small, logits alone"] == rates["small"]
    assert rates["whole"] == 2.5e-5 < rates["small"] < rates["another"] == 1.5e-3


def test_embeddings_are_learned_faster_in_proportion_to_what_is_missed():
    dense = build("bert", auto="AutoModel")
    examples = [{"number": number, "batch": batch} for number, batch in enumerate(BATCHES[:3])]
    distillation_loss = DistillationLoss(cut(dense, 0.9, ["ffn"]), dense, BATCHES[:3], 2, 1, 0)
    missed = sum(distillation_loss.missed(**example) for example in examples) / len(examples)
    rate = learning_rate(distillation_loss, examples)
    assert 2.5e-5 < rate < 1.5e-3
    assert rate == pytest.approx(7e-3 * missed)


def test_one_batch_is_enough(tiny_bert):
    result = distill(quartered(tiny_bert), tiny_bert, BATCHES[:1], how=QUICK)
    assert (result.kl_before, result.kl, result.steps) == (None, None, 2)


def test_modes_and_frozen_parameters_are_left_as_they_were(tiny_bert):
    small = quartered(tiny_bert)
    small.train()
    tiny_bert.bert.encoder.train()
    modes = [module.training for module in tiny_bert.modules()]
    result = distill(small, tiny_bert, BATCHES[:4], how=Distillation(freeze_embeddings=False, bf16=True))
    assert all(module.training for module in result.model.modules())
    assert modes == [module.training for module in tiny_bert.modules()]
    assert "forward" not in vars(result.model)
    assert not same(state(small.bert.embeddings), state(result.model.bert.embeddings))


def test_models_that_cannot_be_compared(tiny_bert, make_tiny_bert):
    with pytest.raises(InputError, match="of 3 outputs, the student a BertForSequenceClassification of 2"):
        distill(tiny_bert, make_tiny_bert(num_labels=3), BATCHES)
    with pytest.raises(InputError, match="expected at least one batch"):
        distill(tiny_bert, tiny_bert, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("learning_rate", float("nan")),
        ("temperature", -1),
        ("hidden", -0.1),
        ("held_out", 1),
        ("patience", 0),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(InputError, match=f"`{name}` is {value}, expected"):
        Distillation(**{name: value})


@pytest.mark.parametrize(
    ("structures", "asked", "trained"),
    [(None, None, False), (("hidden-size",), None, True), (("hidden-size",), True, False)],
)
def test_embeddings_that_were_cut_are_trained(tiny_bert, structures, asked, trained):
    small = cut(tiny_bert, 0.5, structures)
    result = distill(small, tiny_bert, BATCHES, how=replace(QUICK, epochs=0.5, freeze_embeddings=asked))
    assert same(state(small.bert.embeddings), state(result.model.bert.embeddings)) is not trained
