"""Two models, streamed, against plain sums over all of their answers at once."""

import numpy as np
import pytest
import torch
import zoo
from scipy.special import expit, softmax
from scipy.stats import entropy
from tiny import make_batches
from torch.testing import assert_close
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from infoprune.tasks import scoring
from infoprune.tasks.compare import OVERLAP, compare, neighbour_overlap
from infoprune.tasks.evaluate import evaluate

BATCHES = make_batches(((5, 9, 3, 6), (7, 4, 7), (8, 8, 5, 6, 7)))


@pytest.fixture
def pair(make_tiny_bert):
    """Two models of a class that answer otherwise."""

    def build(model_class, **settings):
        models = []
        for seed in (0, 1):
            config = make_tiny_bert(**settings).config
            config._attn_implementation = "eager"
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = model_class(config)
                for parameter in model.parameters():
                    torch.nn.init.normal_(parameter, std=0.2, mean=float(parameter.detach().mean()))
            models.append(model.double().eval())
        return models

    return build


def outputs(model, batch, *names):
    with torch.no_grad():
        found = model(**{name: tensor for name, tensor in batch.items() if name != "labels"})
    return [found[name] for name in names]


def real(batch):
    return batch["attention_mask"].bool()


def kl_of(p, q):
    return entropy(softmax(p.numpy(), -1), softmax(q.numpy(), -1), axis=-1)


@pytest.mark.parametrize("room", [scoring.ROOM, 7])
def test_tokens(pair, monkeypatch, room):
    monkeypatch.setattr(scoring, "ROOM", room)
    dense, small = pair(BertForTokenClassification, num_labels=3)
    a, b = (torch.cat([outputs(m, x, "logits")[0][real(x)] for x in BATCHES]) for m in (dense, small))
    found = compare(dense, small, BATCHES)
    assert found.kl == pytest.approx(kl_of(a, b).mean(), rel=1e-9)
    assert found.agreement == pytest.approx(float((a.argmax(-1) == b.argmax(-1)).double().mean()))
    assert (found.dense, found.small) == ({}, {})
    assert evaluate(dense, BATCHES).logits.numel() == 0, "no table of a row for every token"


@pytest.mark.parametrize("model_class", [BertForTokenClassification, BertForMaskedLM])
def test_only_labelled_tokens_count(pair, model_class):
    dense, small = pair(model_class)
    batches = []
    for batch in BATCHES:
        labels = torch.where(batch["input_ids"] % 3 == 0, batch["input_ids"] % 2, -100)
        batches.append({**batch, "labels": labels.masked_fill(~real(batch), -100)})
    counted = [batch["labels"] >= 0 for batch in batches]
    truth = torch.cat([batch["labels"][rows] for batch, rows in zip(batches, counted, strict=True)])
    a, b = (
        torch.cat([outputs(m, x, "logits")[0][rows] for x, rows in zip(batches, counted, strict=True)])
        for m in (dense, small)
    )
    found = compare(dense, small, batches)
    assert found.kl == pytest.approx(kl_of(a, b).mean(), rel=1e-9)
    for metrics, logits in ((found.dense, a), (found.small, b)):
        assert metrics["accuracy"] == pytest.approx(float((logits.argmax(-1) == truth).double().mean()))
        if model_class is BertForMaskedLM:
            assert metrics["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, truth)))


def test_a_causal_language_model_is_asked_for_the_next_token():
    model, other = (zoo.build("llama", seed=seed) for seed in (0, 1))
    batches = zoo.inputs("llama")
    nats, kls, count = 0.0, [], 0
    for batch in batches:
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True):
            alone = ids[mask][None]
            with torch.no_grad():
                p, q = (each(input_ids=alone).logits[0, :-1] for each in (model, other))
                nats += float(model(input_ids=alone, labels=alone).loss) * (alone.shape[1] - 1)
            kls.append(kl_of(p, q))
            count += alone.shape[1] - 1
    found = compare(model, other, batches)
    assert found.dense["loss"] == pytest.approx(nats / count, rel=1e-6)  # transformers sums in float32
    assert found.dense["perplexity"] == pytest.approx(np.exp(nats / count))
    assert found.kl == pytest.approx(np.concatenate(kls).mean(), rel=1e-9)


def test_an_encoder_decoder_is_asked_at_the_targets():
    model, other = (zoo.build("t5", seed=seed) for seed in (0, 1))
    batches = []
    for batch in zoo.inputs("t5"):
        wanted = batch["decoder_input_ids"].roll(-1, 1)
        batches.append({**batch, "labels": wanted.masked_fill(batch["decoder_attention_mask"] == 0, -100)})
    nats, kls, count = 0.0, [], 0
    for batch in batches:
        rows = batch["decoder_attention_mask"].bool()
        p, q = (outputs(each, batch, "logits")[0][rows] for each in (model, other))
        nats += float(torch.nn.functional.cross_entropy(p, batch["labels"][rows], reduction="sum"))
        kls.append(kl_of(p, q))
        count += int(rows.sum())
    found = compare(model, other, batches)
    assert found.dense["loss"] == pytest.approx(nats / count)
    assert found.kl == pytest.approx(np.concatenate(kls).mean(), rel=1e-9)


def test_an_answer_in_a_text_is_the_same_where_start_and_end_are(pair):
    dense, small = pair(BertForQuestionAnswering)
    same, kls = [], []
    for batch in BATCHES:
        theirs, ours = (outputs(model, batch, "start_logits", "end_logits") for model in (dense, small))
        for row, mask in enumerate(real(batch)):
            ends = [(x[row][mask], y[row][mask]) for x, y in zip(theirs, ours, strict=True)]
            same.append(all(x.argmax() == y.argmax() for x, y in ends))
            kls.extend(kl_of(x, y) for x, y in ends)
    found = compare(dense, small, BATCHES)
    assert found.agreement == pytest.approx(np.mean(same))
    assert found.kl == pytest.approx(np.mean(kls), rel=1e-9)


def test_several_labels_are_independent(pair):
    dense, small = pair(BertForSequenceClassification, num_labels=3, problem_type="multi_label_classification")
    a, b = (torch.cat([outputs(m, x, "logits")[0] for x in BATCHES]).float().double() for m in (dense, small))
    p, q = expit(a.numpy()), expit(b.numpy())
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(1).mean()
    found = compare(dense, small, BATCHES)
    assert found.kl == pytest.approx(expected)
    assert found.agreement == pytest.approx(((p > 0.5) == (q > 0.5)).all(1).mean())


@pytest.mark.parametrize("outputs_of_each", [1, 3])
def test_numbers_are_compared_by_their_correlation_and_squared_difference(pair, outputs_of_each):
    dense, small = pair(BertForSequenceClassification, num_labels=outputs_of_each, problem_type="regression")
    found = compare(dense, small, BATCHES)
    assert found.agreement is None
    assert found.kl is None
    with torch.no_grad():
        a, b = (
            np.concatenate([model(**batch).logits.float().numpy() for batch in BATCHES]) for model in (dense, small)
        )
    pearson = np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(outputs_of_each)])
    assert found.metrics() == {
        "correlation": pytest.approx(pearson, rel=1e-5),
        "squared_difference": pytest.approx(((a - b) ** 2).mean(), rel=1e-5),
    }
    same = compare(dense, dense, BATCHES)
    assert same.correlation == pytest.approx(1)
    assert same.squared_difference == 0


def test_embeddings_are_compared_by_cosine_and_neighbours(pair):
    dense, small = pair(BertModel)
    tables = []
    for model in (dense, small):
        states = [outputs(model, x, "last_hidden_state")[0] for x in BATCHES]
        tables.append(
            [h[m].mean(0) for x, s in zip(BATCHES, states, strict=True) for h, m in zip(s, real(x), strict=True)]
        )
    cosines = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(*tables, strict=True)]
    near = []
    for table in tables:
        nearest = []
        for i, a in enumerate(table):
            others = [j for j in range(len(table)) if j != i]
            nearest.append(set(sorted(others, key=lambda j: -float(torch.cosine_similarity(a, table[j], dim=0)))[:10]))
        near.append(nearest)
    overlap = np.mean([len(a & b) / 10 for a, b in zip(*near, strict=True)])
    found = compare(dense, small, BATCHES)
    assert found.agreement == pytest.approx(np.mean(cosines), rel=1e-5)
    assert found.small == pytest.approx({OVERLAP: overlap})
    assert found.kl is None
    assert compare(dense, dense, BATCHES).small == {OVERLAP: 1.0}
    assert compare(dense, small, BATCHES[:1]).small == {}, "four texts have no ten neighbours"


def test_neighbours_in_parts():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(1500, 4, generator=generator)
    assert neighbour_overlap(table, table @ torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]) > 0.999


def test_the_same_model_has_lost_nothing():
    model = zoo.build("gpt2")
    found = compare(model, model, zoo.inputs("gpt2"))
    assert (found.agreement, found.kl) == (1.0, 0.0)
    assert_close(torch.tensor(found.dense["loss"]), torch.tensor(found.small["loss"]))


def test_models_of_other_tokens_cannot_be_compared():
    model, other = zoo.build("llama"), zoo.build("llama", vocab_size=120)
    with pytest.raises(ValueError, match=r"answers of shapes .* compare models with the same tokens"):
        compare(model, other, zoo.inputs("llama"))
    with pytest.raises(ValueError, match="batches is empty"):
        compare(model, model, [])
