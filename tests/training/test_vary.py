import copy

import pytest
import torch
from tiny import PAD, make_batches
from torch.nn.functional import cosine_similarity, normalize
from torch.testing import assert_close
from zoo import build

from infoprune.errors import InputError
from infoprune.statistics.vary import NEIGHBOURS, nearest, neighbours
from infoprune.structure.stand_ins import read_rows
from infoprune.training.distill import Distillation, distill
from infoprune.training.lesson import Lesson
from infoprune.training.varied import Varied, varied

FRAMED = [
    {
        "input_ids": torch.tensor([[1, 10, 11, 12, 2], [1, 20, 21, 2, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
    },
    {"input_ids": torch.tensor([[1, 10, 30, 2]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)},
]


def test_frame_and_padding_stay_and_the_rest_gives_way_to_what_is_nearest(tiny_bert):
    kind = neighbours(tiny_bert, FRAMED, 1.0)
    unit = normalize(tiny_bert.get_input_embeddings().weight.detach().double(), dim=-1)
    seen = {token: set() for token in (10, 11, 12, 20, 21)}
    for seed in range(200):
        ids = kind.of(FRAMED[0], seed)["input_ids"]
        assert ids[:, 0].tolist() == [1, 1]
        assert (ids[0, 4], ids[1, 3], ids[1, 4]) == (2, 2, PAD)
        for place, token in (((0, 1), 10), ((0, 2), 11), ((0, 3), 12), ((1, 1), 20), ((1, 2), 21)):
            seen[token].add(int(ids[place]))
    for token, found in seen.items():
        order = (unit @ unit[token]).argsort(descending=True).tolist()
        assert found == set([each for each in order if each not in {PAD, 1, 2, token}][:NEIGHBOURS])


@pytest.mark.parametrize("panel", [1, 3, 100])
def test_neighbours_are_those_of_all_cosines_whatever_is_compared_at_once(monkeypatch, panel):
    monkeypatch.setattr("infoprune.statistics.vary.PANEL", panel)
    table = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    asked, others = torch.tensor([0, 3, 7, 19]), torch.tensor([1, 3, 4, 7, 8, 10])
    found = nearest(table, asked, others, 3)
    for token, row in zip(asked.tolist(), found.tolist(), strict=True):
        known = {o: float(cosine_similarity(table[token], table[o], dim=0)) for o in others.tolist() if o != token}
        assert row == sorted(known, key=known.get, reverse=True)[:3]


def test_a_token_that_reads_the_row_of_another_has_it_for_a_neighbour(tiny_bert):
    rows = torch.arange(tiny_bert.config.vocab_size)
    rows[20] = 10
    read_rows(tiny_bert, rows)
    assert 10 in neighbours(tiny_bert, FRAMED, 1.0).near[20].tolist()


def test_the_asked_share_of_tokens_is_replaced(make_tiny_bert):
    model = make_tiny_bert(vocab_size=6000)
    ids = torch.arange(10_000).reshape(100, 100) % 7 + 5
    ids[:, 50:] = torch.arange(50)[None] + 50 * torch.arange(1, 101)[:, None]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    varied = neighbours(model, [batch], 0.25).of(batch, 3)["input_ids"]
    assert torch.equal(varied[:, :50], ids[:, :50]), "in every input, as a common word of long texts is"
    changed = (varied != ids)[:, 50:].double().mean()
    assert_close(float(changed), 0.25, atol=4 * (0.25 * 0.75 / 5000) ** 0.5, rtol=0)


def test_a_seed_gives_one_variation_and_the_input_is_left_as_it_is(tiny_bert):
    kind, before = neighbours(tiny_bert, FRAMED, 0.5), FRAMED[0]["input_ids"].clone()
    first, again = kind.of(FRAMED[0], 1), kind.of(FRAMED[0], 1)
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert any(not torch.equal(first["input_ids"], kind.of(FRAMED[0], seed)["input_ids"]) for seed in range(2, 9))
    assert torch.equal(FRAMED[0]["input_ids"], before)
    assert first["attention_mask"] is FRAMED[0]["attention_mask"]


def numbered(model, count):
    batches = make_batches(((6, 9, 8, 7),) * count)
    return [{"number": i, "batch": b} for i, b in enumerate(batches)], neighbours(model, batches, 0.5)


def test_examples_come_in_turn_varied_anew(tiny_bert):
    examples, kind = numbered(tiny_bert, 3)
    steps = Varied(examples, kind, 7, repeats=1, seed=0, free=3)
    assert len(steps) == 7
    ids = [steps[i]["batch"]["input_ids"] for i in range(7)]
    assert [row.shape for row in ids[:3] * 2] == [row.shape for row in ids[:6]]
    assert not torch.equal(ids[0], ids[3])
    assert torch.equal(steps[3]["batch"]["input_ids"], ids[3]), "the same when asked again"
    assert {steps[i]["number"] for i in range(7)} == {None}, "none comes twice, so none is remembered"


def test_trainings_with_other_seeds_vary_otherwise(tiny_bert):
    examples, kind = numbered(tiny_bert, 3)
    one, two, again = (Varied(examples, kind, 7, repeats=1, seed=seed, free=3) for seed in (0, 1, 0))
    ids = [torch.cat([steps[i]["batch"]["input_ids"] for i in range(7)]) for steps in (one, two, again)]
    assert not torch.equal(ids[0], ids[1])
    assert torch.equal(ids[0], ids[2])


def test_a_variation_serves_several_steps_under_a_number_of_its_own(tiny_bert):
    examples, kind = numbered(tiny_bert, 3)
    training, judging = varied(examples[:2], examples[2:], kind, steps=11, repeats=3, seed=0)
    steps = [training[i] for i in range(len(training))]
    known = {step["number"]: step["batch"]["input_ids"] for step in steps}
    assert len(steps) == 11
    assert len(known) == 4, "eleven steps, three each"
    assert all(torch.equal(step["batch"]["input_ids"], known[step["number"]]) for step in steps)
    assert known.keys().isdisjoint({0, 1, 2, *(one["number"] for one in judging)})
    assert {one["number"] for one in judging}.isdisjoint({0, 1, 2}), "varied, they are other inputs than they were"


@pytest.mark.parametrize(("repeats", "asked"), [(1, 6), (2, 3), (6, 1)])
def test_a_teacher_is_asked_once_for_a_variation(tiny_bert, repeats, asked):
    batches = make_batches(((6, 9, 8, 7),) * 2)
    student, seen = copy.deepcopy(tiny_bert), []
    tiny_bert.bert.embeddings.register_forward_hook(lambda module, given, _: seen.append(given))

    def calls(epochs):
        seen.clear()
        how = Distillation(epochs=epochs, learning_rate=1e-3, varied=0.3, repeats=repeats, held_out=0, bf16=False)
        distill(student, tiny_bert, batches, how=how)
        return len(seen)

    assert calls(3) - calls(0.5) == asked - 1, "all but what is asked before the training"


@pytest.mark.parametrize("batches", [[{"pixel_values": torch.zeros(2, 3, 4, 4)}], [FRAMED[1]]])
def test_nothing_to_replace(tiny_bert, batches):
    assert neighbours(tiny_bert, batches, 0.5) is None, "a picture, or one input that is all frame"


def test_no_share_is_no_variation(tiny_bert):
    assert neighbours(tiny_bert, FRAMED, 0.0) is None


@pytest.mark.parametrize(
    ("head", "once"),
    [("SequenceClassification", True), ("TokenClassification", False), ("QuestionAnswering", False), ("", True)],
)
def test_models_with_one_answer_for_an_input_are_told_apart(head, once):
    model = build("bert", auto=f"AutoModelFor{head}" if head else "AutoModel", num_labels=2)
    batches = make_batches(((6, 9, 8, 7),))
    assert Lesson(model, model, batches, 2, 1, 0).answers_once(0, batches[0]) == once


def test_distillation_on_varied_inputs_is_what_it_is_by_hand(tiny_bert):
    batches = make_batches(((6, 9, 8, 7),) * 6)
    how = {"epochs": 1, "learning_rate": 1e-3, "bf16": False, "held_out": 0}
    chosen, asked, none = (
        distill(tiny_bert, tiny_bert, batches, how=Distillation(**how, varied=share)).model.state_dict()
        for share in (None, 0.4, 0.0)
    )
    assert all(torch.equal(chosen[name], asked[name]) for name in chosen)
    assert any(not torch.equal(chosen[name], none[name]) for name in chosen)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range(share):
    with pytest.raises(InputError, match=r"varied is .*, expected a share from 0 to 1"):
        Distillation(varied=share)


def test_variations_that_serve_no_step():
    with pytest.raises(InputError, match="repeats is 0, expected at least 1"):
        Distillation(repeats=0)
