import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy, pearsonr

from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl

TEXTS = ("good film", "the plot is very dull", "bad", "a great plot !", "not good and not bad")


def batches_of(tokenizer, labels=None, batch_size=2):
    return make_batches(TextData(TEXTS, None, None, "memory"), tokenizer, labels=labels, batch_size=batch_size)


def test_logits_are_the_models_own_whatever_the_batching(tiny_bert64, tokenizer):
    alone = {text: tiny_bert64(**tokenizer(text, return_tensors="pt")).logits[0].detach().float() for text in TEXTS}
    order = sorted(TEXTS, key=lambda text: len(tokenizer(text)["input_ids"]))
    result = evaluate(tiny_bert64, batches_of(tokenizer))
    torch.testing.assert_close(result.logits, torch.stack([alone[text] for text in order]))
    assert result.metrics == {}
    assert result.logits.dtype == torch.float32


def test_accuracy_and_f1_are_those_counted_by_hand(tiny_bert, tokenizer):
    plain = evaluate(tiny_bert, batches_of(tokenizer))
    labels = [0, 1, 1, 0, 1]
    result = evaluate(tiny_bert, batches_of(tokenizer, labels))
    truth = torch.cat([batch["labels"] for batch in batches_of(tokenizer, labels)]).numpy()
    answers = plain.logits.argmax(1).numpy()
    f1 = [2 * np.sum((answers == c) & (truth == c)) / (np.sum(answers == c) + np.sum(truth == c)) for c in (0, 1)]
    assert torch.equal(result.logits, plain.logits), "labels do not reach the model"
    assert result.metrics == pytest.approx({"accuracy": np.mean(answers == truth), "macro_f1": np.mean(f1)})


def test_regression_is_scored_by_correlation_and_squared_error(make_tiny_bert, tokenizer):
    model = make_tiny_bert(num_labels=1)
    batches = batches_of(tokenizer, [0.1, 0.9, 0.4, 0.3, 0.7])
    result = evaluate(model, batches)
    truth = torch.cat([batch["labels"] for batch in batches]).numpy()
    answers = result.logits[:, 0].numpy()
    expected = {"pearson": pearsonr(answers, truth).statistic, "mse": np.mean((answers - truth) ** 2)}
    assert result.metrics == pytest.approx(expected, rel=1e-5)


def test_several_labels_are_scored_by_micro_f1(make_tiny_bert, tokenizer):
    model = make_tiny_bert(num_labels=3, problem_type="multi_label_classification")
    batches = batches_of(
        tokenizer, [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    )
    result = evaluate(model, batches)
    truth, answers = torch.cat([batch["labels"] for batch in batches]).bool(), result.logits > 0
    expected = 2 * (truth & answers).sum() / (truth.sum() + answers.sum())
    assert result.metrics == pytest.approx({"micro_f1": float(expected)})


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_and_dropout_is_off(tiny_bert, tokenizer, training):
    tiny_bert.train(training)
    first, second = (evaluate(tiny_bert, batches_of(tokenizer)).logits for _ in range(2))
    assert tiny_bert.training is training
    assert torch.equal(first, second)


def test_progress_is_told_after_each_batch(tiny_bert, tokenizer):
    calls = []
    evaluate(tiny_bert, batches_of(tokenizer), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_no_batches_are_refused_and_the_mode_is_restored_after_an_error(tiny_bert):
    with pytest.raises(ValueError, match="batches is empty: expected at least one batch"):
        evaluate(tiny_bert, [])
    tiny_bert.train()
    with pytest.raises(ZeroDivisionError):
        evaluate(tiny_bert, [{"input_ids": torch.full((1, 3), 9)}], progress=lambda done, _: done / 0)
    assert tiny_bert.training


def test_kl_is_scipys():
    generator = torch.Generator().manual_seed(0)
    dense, pruned = torch.randn(2, 50, 7, generator=generator) * 5
    expected = entropy(softmax(dense.double().numpy(), axis=1), softmax(pruned.double().numpy(), axis=1), axis=1)
    assert mean_kl(dense, pruned) == pytest.approx(expected.mean(), rel=1e-9)


def test_kl_is_nought_for_equal_distributions_and_finite_for_extreme_ones():
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    assert mean_kl(logits, logits + 3.0) == pytest.approx(0.0, abs=1e-6)
    assert mean_kl(torch.tensor([[500.0, 0.0]]), torch.tensor([[0.0, 500.0]])) == pytest.approx(500.0)


def test_agreement_is_the_share_of_equal_answers():
    dense = torch.eye(4)
    pruned = torch.eye(4)[[0, 1, 3, 2]]
    assert agreement(dense, pruned) == 0.5
    assert agreement(dense, 3 * dense + 1) == 1.0


@pytest.mark.parametrize("compare", [agreement, mean_kl])
@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((3, 1), (3, 1)), ((0, 2), (0, 2)), ((3,), (3,))])
def test_logits_that_cannot_be_compared_are_refused(compare, shapes):
    with pytest.raises(ValueError, match="evaluate both models on the same batches"):
        compare(*(torch.zeros(shape) for shape in shapes))


def test_an_evaluation_is_frozen():
    with pytest.raises(AttributeError):
        Evaluation({}, torch.zeros(1, 2)).metrics = {}
