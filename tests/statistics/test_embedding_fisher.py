"""Laws of the demand at the embeddings; oracles: an explicit Jacobian, and what a small shift of a row does."""

import pytest
import torch
import zoo
from tiny import divergence, logits_of, make_batches, normal, split

from infoprune.errors import InputError
from infoprune.statistics.embedding_fisher import embedding_fisher

BATCHES = make_batches()


def by_hand(model, batches):
    """Sum over tokens of J^T F J, J the Jacobian of the logits at the row that a token reads; mean over inputs."""
    table = model.get_input_embeddings()
    total, inputs = 0, split(batches)
    for one in inputs:
        rows = table(one["input_ids"]).detach()

        def answer(embedded, mask=one["attention_mask"]):
            return model(inputs_embeds=embedded, attention_mask=mask).logits[0]

        p = answer(rows).softmax(-1).detach()
        fisher = p.diag() - p.outer(p)
        jacobian = torch.autograd.functional.jacobian(answer, rows)[:, 0]
        total = total + torch.einsum("cti,cd,dtj->ij", jacobian, fisher, jacobian)
    return total / len(inputs)


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "albert", "roberta"])
def test_it_is_the_fisher_information_of_the_answer(model_type):
    model = zoo.build(model_type)
    found = embedding_fisher(model, BATCHES)
    torch.testing.assert_close(found, by_hand(model, BATCHES), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(embedding_fisher(model, split(BATCHES)), found, rtol=1e-9, atol=1e-14)


def test_half_of_it_is_the_divergence_of_a_small_shift():
    """A row that one token of an input reads, in the one input that there is."""
    model = zoo.build("bert")
    batch = {"input_ids": torch.tensor([[2, 7]]), "attention_mask": torch.ones(1, 2, dtype=torch.long)}
    whole = embedding_fisher(model, [batch])
    shift = 1e-4 * normal(model.config.hidden_size)
    before, sums = logits_of(model, [batch]), 0.0
    for token in (2, 7):
        rows = model.get_input_embeddings().weight.data
        rows[token] += shift
        sums += divergence(before, logits_of(model, [batch]))
        rows[token] -= shift
    assert float(shift @ whole @ shift) / 2 == pytest.approx(sums, rel=1e-2)


def test_the_model_is_left_as_it_was():
    model = zoo.build("bert").train()
    embedding_fisher(model, BATCHES)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not model.get_input_embeddings()._forward_hooks


def test_padding_does_not_count():
    model = zoo.build("bert")
    more = [{**batch, "input_ids": batch["input_ids"] + 9 * (1 - batch["attention_mask"])} for batch in BATCHES]
    torch.testing.assert_close(embedding_fisher(model, more), embedding_fisher(model, BATCHES), rtol=1e-9, atol=1e-14)


def test_nothing_to_collect_from():
    with pytest.raises(InputError, match="no calibration inputs"):
        embedding_fisher(zoo.build("bert"), [])


def test_weights_that_are_not_finite():
    model = zoo.build("bert")
    model.get_input_embeddings().weight.data[5] = torch.nan
    with pytest.raises(InputError, match=r"word_embeddings\.weight holds NaN"):
        embedding_fisher(model, BATCHES)
