import pytest
import torch
from tiny import make_batches

from infoprune.budgets.budget import Budget
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.search import PROBES, search
from infoprune.pipeline.settings import Settings
from infoprune.pipeline.size import MaxLoss
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.ranking.scores import Magnitude
from infoprune.statistics.collect import collect
from infoprune.tasks.evaluate import Evaluation, evaluate, mean_kl

BATCHES = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 4)
PLAIN = Settings(repair=False)


@pytest.fixture
def eval_batches(tiny_bert):
    """Other texts, labelled with the dense model's own answers."""
    texts = make_batches(((7, 12, 9, 10, 12, 8, 11, 5),) * 4, seed=1)
    return [{**batch, "labels": tiny_bert(**batch).logits.argmax(-1)} for batch in texts]


@pytest.mark.parametrize("criterion", [None, Magnitude()], ids=["information", "magnitude"])
@pytest.mark.parametrize("max_loss", [MaxLoss("kl", 0.01), MaxLoss("accuracy", 10)], ids=["kl", "accuracy"])
@pytest.mark.parametrize("quantity", ["flops", "params"])
def test_the_result_holds_what_was_asked(tiny_bert, eval_batches, criterion, max_loss, quantity):
    result = search(tiny_bert, BATCHES, eval_batches, max_loss, quantity=quantity, criterion=criterion, settings=PLAIN)
    dense, small = evaluate(tiny_bert, eval_batches), evaluate(result.model, eval_batches)
    assert max_loss.of(dense, small) <= max_loss.most
    assert result.report.kl == mean_kl(dense.logits, small.logits)
    assert result.report.pruned.metrics == small.metrics
    assert result.report.pruned.parameters < result.report.dense.parameters


def test_the_report_has_curves(tiny_bert, eval_batches):
    found = search(tiny_bert, BATCHES, eval_batches, MaxLoss("kl", 0.05)).report
    assert found.curves == rank(collect(tiny_bert, BATCHES), ChannelInformation()).curves()


def test_a_larger_loss_allows_a_smaller_model(tiny_bert, eval_batches):
    sizes = [
        search(tiny_bert, BATCHES, eval_batches, MaxLoss("kl", most), settings=PLAIN).report.pruned.flops
        for most in (0.0003, 0.001, 0.002)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2]


def test_what_is_a_tenth_cheaper_would_not_do(tiny_bert, eval_batches):
    most = 0.001
    report = search(tiny_bert, BATCHES, eval_batches, MaxLoss("kl", most), settings=PLAIN).report
    share = report.pruned.flops / report.dense.flops
    less = prune(tiny_bert, BATCHES, budget=Budget("flops", share - 0.1), settings=PLAIN)
    assert (
        report.kl <= most < mean_kl(evaluate(tiny_bert, eval_batches).logits, evaluate(less.model, eval_batches).logits)
    )


def test_it_ends_within_six_evaluations(tiny_bert, eval_batches):
    steps = []
    search(
        tiny_bert,
        BATCHES,
        eval_batches,
        MaxLoss("accuracy", 5),
        settings=PLAIN,
        progress=lambda stage, done, of: steps.append((stage, done)),
    )
    assert 1 <= len({done for stage, done in steps if stage == "search"}) <= PROBES <= 5


def test_the_same_seed_gives_the_same_model(tiny_bert, eval_batches):
    first, again = (search(tiny_bert, BATCHES, eval_batches, MaxLoss("kl", 0.01), seed=3) for _ in range(2))
    assert first.plan == again.plan
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))


def test_what_cannot_be_had(tiny_bert, eval_batches):
    with pytest.raises(InputError, match=r"no smaller model loses at most kl=1e-12.*allow more"):
        search(tiny_bert, BATCHES, eval_batches, MaxLoss("kl", 1e-12), settings=PLAIN)
    bare = [{name: tensor for name, tensor in batch.items() if name != "labels"} for batch in eval_batches]
    with pytest.raises(InputError, match="give no accuracy, expected one of: kl"):
        search(tiny_bert, BATCHES, bare, MaxLoss("accuracy", 1))
    numbers = Evaluation({}, torch.zeros(3, 1), "number")
    with pytest.raises(InputError, match="a regression has no KL divergence"):
        MaxLoss("kl", 1).of(numbers, numbers)
    with pytest.raises(InputError, match="'fan2021' ranks anew for every size"):
        search(tiny_bert, BATCHES, eval_batches, MaxLoss("kl", 1), criterion=Fan2021())


@pytest.mark.parametrize(
    ("metric", "most", "words"),
    [
        ("speed", 1, "'speed', expected one of: kl, accuracy"),
        ("kl", 0, r"kl=0 was allowed, expected a number above 0; pass e\.g\. `max_kl=0\.05`"),
        ("accuracy", float("nan"), r"accuracy=nan was allowed.*half a point"),
    ],
)
def test_tolerances_that_make_no_sense(metric, most, words):
    with pytest.raises(InputError, match=words):
        MaxLoss(metric, most)
