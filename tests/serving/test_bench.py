import time
from functools import partial

import pytest
import torch
from tiny import divergence, logits_of, make_batches
from torch import nn

from infoprune.errors import InputError
from infoprune.measuring.measure import Latency
from infoprune.serving.bench import evaluate_models, time_models
from infoprune.serving.memory import peak_memory

MEGABYTE = 1_000_000


class Sleeper(nn.Module):
    """Takes a known time for every input."""

    def __init__(self, config, seconds):
        super().__init__()
        self.config, self.seconds = config, seconds

    def forward(self, input_ids, attention_mask):
        assert input_ids.max() < self.config.vocab_size
        time.sleep(self.seconds * len(input_ids))


def test_every_model_on_every_shape_and_the_speed_up_over_the_first(tiny_bert):
    models = {"slow": Sleeper(tiny_bert.config, 0.02), "quick": Sleeper(tiny_bert.config, 0.005)}
    steps = []
    rows = time_models(models, [(1, 4), (2, 7)], repeats=5, progress=lambda *step: steps.append(step))
    assert [(row.model, row.inputs, row.tokens) for row in rows] == [
        ("slow", 1, 4),
        ("quick", 1, 4),
        ("slow", 2, 7),
        ("quick", 2, 7),
    ]
    assert steps == [(1, 2), (2, 2)]
    for row in rows:
        assert row.latency_ms.median >= 1000 * models[row.model].seconds * row.inputs
        assert row.per_second == pytest.approx(1000 * row.inputs / row.latency_ms.median)
    for first, other in (rows[:2], rows[2:]):
        assert first.speedup == Latency(1, 1, 1), "the first is as fast as itself in every round"
        assert 1 < other.speedup.low <= other.speedup.median <= other.speedup.high < 6, "4, were the machine idle"


def test_inputs_suit_the_smallest_vocabulary(make_tiny_bert):
    models = {name: Sleeper(make_tiny_bert(vocab_size=size).config, 0) for name, size in (("a", 100), ("b", 20))}
    assert len(time_models(models, [(50, 50)], repeats=1)) == 2


def test_a_model_without_a_config_takes_the_inputs_of_another(tiny_bert):
    unknown, known = Sleeper(tiny_bert.config, 0), Sleeper(tiny_bert.config, 0)
    unknown.forward = lambda input_ids, attention_mask: None
    unknown.config = None
    assert len(time_models({"unknown": unknown, "known": known}, [(1, 4)], repeats=1)) == 2
    with pytest.raises(InputError, match="the inputs of unknown are not known"):
        time_models({"unknown": unknown}, [(1, 4)])


def test_more_tokens_than_a_model_takes_are_refused(tiny_bert):
    with pytest.raises(
        InputError, match="`length` is 65, expected at most the 64 positions of dense; pass `length=64`"
    ):
        time_models({"dense": tiny_bert}, [(1, 64), (1, 65)])


def test_answers_are_compared_with_those_of_the_first(make_tiny_bert):
    models = {"a": make_tiny_bert(seed=0), "b": make_tiny_bert(seed=1)}
    batches = make_batches()
    labelled = [{**batch, "labels": torch.tensor([0, 1, 0, 1][: len(batch["input_ids"])])} for batch in batches]
    first, second = evaluate_models(models, labelled)
    assert (first.model, first.agreement, first.kl) == ("a", 1, 0)
    ours, theirs = (logits_of(model, batches) for model in models.values())
    assert second.kl == pytest.approx(divergence(ours, theirs))
    assert second.agreement == float((ours.argmax(-1) == theirs.argmax(-1)).double().mean())
    truth = torch.cat([batch["labels"] for batch in labelled])
    assert second.metrics["accuracy"] == pytest.approx(float((theirs.argmax(-1) == truth).double().mean()))


def test_labels_that_exclude_none_are_compared_one_by_one(make_tiny_bert):
    several = {"num_labels": 3, "problem_type": "multi_label_classification"}
    models = {"a": make_tiny_bert(seed=0, **several), "b": make_tiny_bert(seed=1, **several)}
    batches = make_batches()
    _, row = evaluate_models(models, batches)
    p, q = (logits_of(model, batches).double().sigmoid() for model in models.values())
    nats = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert row.kl == pytest.approx(float(nats.sum(-1).mean()))
    assert row.agreement == float(((p > 0.5) == (q > 0.5)).all(-1).double().mean())


def test_numbers_have_no_agreement(make_tiny_bert):
    models = {"a": make_tiny_bert(num_labels=1)}
    (row,) = evaluate_models(models, make_batches())
    assert (row.metrics, row.agreement, row.kl) == ({}, None, None)


def test_peak_memory_is_what_the_work_holds_at_once():
    assert (
        0.9 < peak_memory(partial(bytearray, MEGABYTE), partial(_hold_and_free, 80 * MEGABYTE)) / (80 * MEGABYTE) < 1.2
    )


def _hold_and_free(size):
    for _ in range(2):
        held = bytearray(size)
        del held
