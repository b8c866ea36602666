"""The demand of every task is the Fisher information of what the model answers."""

import pytest
import torch
from tiny import make_batches, shifted, split
from torch.testing import assert_close
from transformers import (
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.statistics.answer import answer_of
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites


@pytest.fixture
def build(make_tiny_bert):
    def built(model_class, **settings):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = model_class(make_tiny_bert(**settings).config).to(torch.float64).eval()
            for parameter in model.parameters():
                mean = float(parameter.detach().mean()) if parameter.ndim == 1 else 0.0
                torch.nn.init.normal_(parameter, mean=mean, std=0.2)
        return model

    return built


def jacobian(model, single, path, answer):
    """Of what the model answers to one input, by a shift at every token: (numbers, length, o), and the numbers."""
    length, outputs = single["input_ids"].shape[1], model.get_submodule(path).out_features

    def numbers(shift):
        with shifted(model, path, shift):
            return answer(model(**single))

    zero = torch.zeros(length, outputs, dtype=torch.float64)
    return torch.autograd.functional.jacobian(numbers, zero).flatten(0, -3), numbers(zero).detach()


def softmax_fisher(logits):
    p = logits.softmax(-1)
    return torch.block_diag(*(torch.diag(each) - torch.outer(each, each) for each in p.reshape(-1, p.shape[-1])))


def embedding(output):
    return torch.nn.functional.normalize(output.last_hidden_state[0].mean(0), dim=0)


# model class, settings, what it answers, the Fisher information of that, and whether the library draws it
TASKS = {
    "regression": (
        BertForSequenceClassification,
        {"num_labels": 1},
        lambda o: o.logits[0],
        lambda z: torch.eye(1).double(),
        False,
    ),
    "several numbers": (
        BertForSequenceClassification,
        {"num_labels": 3, "problem_type": "regression"},
        lambda o: o.logits[0],
        lambda z: torch.eye(3).double(),
        False,
    ),
    "several labels": (
        BertForSequenceClassification,
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        lambda o: o.logits[0],
        lambda z: torch.diag(z.sigmoid() * (1 - z.sigmoid())),
        False,
    ),
    "tokens": (BertForTokenClassification, {"num_labels": 3}, lambda o: o.logits[0], softmax_fisher, True),
    "masked tokens": (BertForMaskedLM, {}, lambda o: o.logits[0], softmax_fisher, True),
    "start and end": (
        BertForQuestionAnswering,
        {},
        lambda o: torch.cat([o.start_logits, o.end_logits]),
        softmax_fisher,
        True,
    ),
    "embedding": (BertModel, {}, embedding, lambda z: torch.eye(len(z)).double(), True),
}


@pytest.mark.parametrize("task", TASKS)
def test_demand_is_the_fisher_information_of_the_answer(build, task):
    model_class, settings, answer, fisher, sampled = TASKS[task]
    model, batches = build(model_class, **settings), make_batches(((4, 3, 6), (5,)))
    singles = split(batches)
    site = find_sites(model)[1]
    expected = 0
    for single in singles:
        slopes, numbers = jacobian(model, single, site.reader, answer)
        expected = expected + torch.einsum("ati,ab,btj->ij", slopes, fisher(numbers), slopes) / len(singles)
    found = collect(model, batches, sites=[site], fisher_samples=600 if sampled else 4).sites[site.name].fisher
    if sampled:
        assert float((found - expected).norm() / expected.norm()) < 0.15
    else:
        assert_close(found, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("task", ["tokens", "masked tokens", "start and end", "embedding", "several labels"])
def test_padding_does_not_count(build, task):
    model_class, settings, *_ = TASKS[task]
    model = build(model_class, **settings)
    padded = make_batches(((4, 7),))
    (bare,) = split([{name: x[:1] for name, x in padded[0].items()}])
    masked = {name: x[:1] for name, x in padded[0].items()}
    assert masked["input_ids"].shape[1] > bare["input_ids"].shape[1]
    values = []
    for batch in (bare, masked):
        mask = batch["attention_mask"].bool()
        answer = answer_of(model, model(**batch), mask)
        counted = answer.values[answer.counts.expand(answer.values.shape[:-1])]
        values.append(counted.double().softmax(-1) if answer.law == "softmax" else counted)
    length = bare["input_ids"].shape[1] if task == "start and end" else None
    assert_close(values[0], values[1][:, :length])


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
@pytest.mark.parametrize("task", TASKS)
def test_a_model_of_every_task_is_compressed(build, task):
    model_class, settings, answer, *_ = TASKS[task]
    model, batches = build(model_class, **settings), make_batches(((4, 3, 6), (5,)))
    result = prune(model, batches, keep=0.5)
    assert [site.units for site in find_sites(result.model)] == [2, 32, 2, 32]
    with torch.no_grad():
        assert torch.isfinite(answer(result.model(**batches[0]))).all()
    assert result.report.nats_lost > 0


def test_a_model_of_no_known_task_is_refused_before_the_work(build):
    seen = []
    with pytest.raises(InputError, match="BertForNextSentencePrediction is for no task that is known"):
        prune(build(BertForNextSentencePrediction), make_batches(), progress=lambda *each: seen.append(each))
    assert seen == []


def test_an_answer_that_cannot_be_read(make_tiny_bert):
    model = make_tiny_bert()
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(InputError, match=r"gives pooler_output, expected logits or hidden states"):
        answer_of(model, {"pooler_output": torch.zeros(1, 3)}, mask)
    with pytest.raises(InputError, match="not finite"):
        answer_of(model, {"logits": torch.full((1, 2), torch.nan)}, mask)
