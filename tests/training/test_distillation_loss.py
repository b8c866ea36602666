import pytest
import torch
from tiny import divergence, make_batches
from torch.nn import functional
from torch.testing import assert_close

from infoprune.plan import Plan
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.training.distill import Distillation, distill
from infoprune.training.distillation_loss import DistillationLoss, Teacher, matched

BATCHES = make_batches(((7, 12, 9, 10), (12, 8, 11, 5)) * 16)


def quartered(dense):
    units = {site.name: site.units for site in find_sites(dense)}
    return apply_plan(dense, Plan("bert", units, {name: tuple(range(n // 4)) for name, n in units.items()}, "first", 0))


def test_the_loss_is_that_of_the_docstring(tiny_bert64):
    small, batch, t = quartered(tiny_bert64), BATCHES[1], 3.0
    distillation_loss = DistillationLoss(small, tiny_bert64, BATCHES, temperature=t, hidden=0.7, labels=0.0)
    mask = batch["attention_mask"].bool()
    with torch.no_grad():
        ours, theirs = (model(**batch, output_hidden_states=True) for model in (small, tiny_bert64))
        p = (theirs.logits / t).softmax(-1)
        expected = t * t * (p * (p.log() - (ours.logits / t).log_softmax(-1))).sum(-1).mean()
        for layer in (1, 2):
            g, h = ours.hidden_states[layer][mask], theirs.hidden_states[layer][mask]
            expected += 0.7 * (g - h).pow(2).sum() / (h - h.mean(0)).pow(2).sum() / 2
        assert_close(distillation_loss.train()(1, batch)["loss"].double(), expected, rtol=1e-3, atol=0)
        kl = divergence(theirs.logits, ours.logits)
        assert_close(float(distillation_loss.eval()(0, batch)["loss"]), kl, rtol=1e-5, atol=0)


def test_what_the_teacher_has_said_is_remembered_while_there_is_room(tiny_bert):
    calls = []
    tiny_bert.register_forward_hook(lambda *_: calls.append(1))
    first = Teacher(tiny_bert).answer(0, BATCHES[0], deep=True)
    size = sum(tensor.nbytes for tensor in first)
    teacher = Teacher(tiny_bert, room=size)
    answers = [teacher.answer(number, BATCHES[0], deep=True) for number in (0, 1, 0, 1)]
    assert len(calls) == 1 + 3, "the second batch finds no room"
    assert all(torch.equal(a, b) for answer in answers for a, b in zip(first, answer, strict=True))


def test_labels_add_their_cross_entropy(tiny_bert):
    small, labels = quartered(tiny_bert), torch.tensor([0, 1, 1, 0])
    batch = {**BATCHES[0], "labels": labels}
    without, having = (DistillationLoss(small, tiny_bert, BATCHES, 2.0, 0.0, weight).train() for weight in (0.0, 0.5))
    with torch.no_grad():
        entropy = functional.cross_entropy(small(**BATCHES[0]).logits, labels)
        assert_close(having(0, batch)["loss"] - without(0, batch)["loss"], 0.5 * entropy, rtol=1e-4, atol=1e-6)
        assert_close(having(0, BATCHES[0])["loss"], without(0, batch)["loss"])


@pytest.mark.parametrize(
    "settings", [{"num_labels": 1}, {"num_labels": 3, "problem_type": "multi_label_classification"}]
)
def test_other_kinds_of_answers(make_tiny_bert, settings):
    dense = make_tiny_bert(**settings)
    small, batch = quartered(dense), BATCHES[0]
    with torch.no_grad():
        q, p = small(**batch).logits, dense(**batch).logits
        loss = DistillationLoss(small, dense, BATCHES, 2.0, 0.0, 0.0).eval()(0, batch)["loss"]
    if settings["num_labels"] == 1:
        expected = (q - p).square().mean() / 2
    else:
        answers = [torch.distributions.Bernoulli(logits=logits) for logits in (p, q)]
        expected = torch.distributions.kl_divergence(*answers).sum(-1).mean()
    assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    result = distill(small, dense, BATCHES, how=Distillation(learning_rate=5e-3, bf16=False))
    assert result.kl < result.kl_before


def test_layers_are_matched_by_height():
    ours, theirs = ([torch.tensor(i) for i in range(n + 1)] for n in (2, 6))
    assert [(int(g), int(h)) for g, h in matched(ours, theirs)] == [(1, 3), (2, 6)]
    assert [(int(g), int(h)) for g, h in matched(theirs, theirs)] == [(i, i) for i in range(1, 7)]
