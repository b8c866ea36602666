import copy

import pytest
import torch
from tiny import make_batches
from torch.testing import assert_close
from zoo import build

from infoprune.errors import InputError
from infoprune.statistics.token_replacement import frequency_replacement
from infoprune.training.augmented_examples import ReplacedExamples, replaced_examples
from infoprune.training.distill import Distillation, distill
from infoprune.training.distillation_loss import DistillationLoss

FRAMED = [
    {
        "input_ids": torch.tensor([[1, 10, 11, 12, 2], [1, 20, 21, 2, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
    },
    {"input_ids": torch.tensor([[1, 10, 30, 2]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)},
]


def test_frame_and_padding_stay_and_the_rest_is_drawn_from_the_inputs():
    replacement = frequency_replacement(FRAMED, 1.0)
    assert replacement.frame.tolist() == [1, 2]
    assert sorted(replacement.tokens.tolist()) == [10, 10, 11, 12, 20, 21, 30]
    seen = set()
    for seed in range(50):
        ids = replacement.of(FRAMED[0], seed)["input_ids"]
        assert ids[:, 0].tolist() == [1, 1]
        assert (ids[0, 4], ids[1, 3], ids[1, 4]) == (2, 2, 0)
        seen |= {*ids[0, 1:4].tolist(), *ids[1, 1:3].tolist()}
    assert seen == {10, 11, 12, 20, 21, 30}


def test_the_asked_share_of_tokens_is_replaced_by_tokens_as_frequent_as_they_are():
    ids = torch.arange(10_000).reshape(100, 100) % 7
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    batch["input_ids"][:, 50:] = torch.arange(50)[None] + 100 * torch.arange(1, 101)[:, None]
    replacement = frequency_replacement([batch], 0.25)
    replaced_examples = replacement.of(batch, 3)["input_ids"]
    assert set(replacement.frame.tolist()) == set(range(7)), "in every input, as a common word of long texts is"
    assert torch.equal(replaced_examples[:, :50], ids[:, :50])
    changed = (replaced_examples != ids)[:, 50:].double().mean()
    assert_close(float(changed), 0.25, atol=4 * (0.25 * 0.75 / 5000) ** 0.5, rtol=0)


def test_a_seed_gives_one_variation_and_the_input_is_left_as_it_is():
    replacement, before = frequency_replacement(FRAMED, 0.5), FRAMED[0]["input_ids"].clone()
    first, again = replacement.of(FRAMED[0], 1), replacement.of(FRAMED[0], 1)
    assert torch.equal(first["input_ids"], again["input_ids"])
    assert any(
        not torch.equal(first["input_ids"], replacement.of(FRAMED[0], seed)["input_ids"]) for seed in range(2, 9)
    )
    assert torch.equal(FRAMED[0]["input_ids"], before)
    assert first["attention_mask"] is FRAMED[0]["attention_mask"]


def numbered(count):
    batches = make_batches(((6, 9, 8, 7),) * count)
    return [{"number": i, "batch": b} for i, b in enumerate(batches)], frequency_replacement(batches, 0.5)


def test_examples_come_in_turn_varied_anew():
    examples, replacement = numbered(3)
    steps = ReplacedExamples(examples, replacement, 7, repeats=1, seed=0, free=3)
    assert len(steps) == 7
    ids = [steps[i]["batch"]["input_ids"] for i in range(7)]
    assert [row.shape for row in ids[:3] * 2] == [row.shape for row in ids[:6]]
    assert not torch.equal(ids[0], ids[3])
    assert torch.equal(steps[3]["batch"]["input_ids"], ids[3]), "the same when asked again"
    assert {steps[i]["number"] for i in range(7)} == {None}, "none comes twice, so none is remembered"


def test_trainings_with_other_seeds_vary_otherwise():
    examples, replacement = numbered(3)
    one, two, again = (ReplacedExamples(examples, replacement, 7, repeats=1, seed=seed, free=3) for seed in (0, 1, 0))
    ids = [torch.cat([steps[i]["batch"]["input_ids"] for i in range(7)]) for steps in (one, two, again)]
    assert not torch.equal(ids[0], ids[1])
    assert torch.equal(ids[0], ids[2])


def test_a_variation_serves_several_steps_under_a_number_of_its_own():
    examples, replacement = numbered(3)
    training, held_out = replaced_examples(examples[:2], examples[2:], replacement, steps=11, repeats=3, seed=0)
    steps = [training[i] for i in range(len(training))]
    known = {step["number"]: step["batch"]["input_ids"] for step in steps}
    assert len(steps) == 11
    assert len(known) == 4, "eleven steps, three each"
    assert all(torch.equal(step["batch"]["input_ids"], known[step["number"]]) for step in steps)
    assert known.keys().isdisjoint({0, 1, 2, *(one["number"] for one in held_out)})
    assert {one["number"] for one in held_out}.isdisjoint({0, 1, 2}), "varied, they are other inputs than they were"


@pytest.mark.parametrize(("repeats", "asked"), [(1, 6), (2, 3), (6, 1)])
def test_a_teacher_is_asked_once_for_a_variation(tiny_bert, repeats, asked):
    batches = make_batches(((6, 9, 8, 7),) * 2)
    student, seen = copy.deepcopy(tiny_bert), []
    tiny_bert.bert.embeddings.register_forward_hook(lambda module, given, _: seen.append(given))

    def calls(epochs):
        seen.clear()
        how = Distillation(
            epochs=epochs, learning_rate=1e-3, token_replacement=0.3, repeats=repeats, held_out=0, bf16=False
        )
        distill(student, tiny_bert, batches, how=how)
        return len(seen)

    assert calls(3) - calls(0.5) == asked - 1, "all but what is asked before the training"


@pytest.mark.parametrize("batches", [[{"pixel_values": torch.zeros(2, 3, 4, 4)}], [FRAMED[1]]])
def test_nothing_to_replace(batches):
    assert frequency_replacement(batches, 0.5) is None, "a picture, or one input that is all frame"


def test_no_variation_is_no_variation():
    assert frequency_replacement(FRAMED, 0.0) is None


@pytest.mark.parametrize(
    ("head", "decides"),
    [("SequenceClassification", True), ("TokenClassification", False), ("QuestionAnswering", False), ("", False)],
)
def test_heads_with_one_answer_for_an_input_are_told_apart(head, decides):
    model = build("bert", auto=f"AutoModelFor{head}" if head else "AutoModel", num_labels=2)
    batches = make_batches(((6, 9, 8, 7),))
    assert DistillationLoss(model, model, batches, 2, 1, 0).decides(0, batches[0]) == decides


def test_distillation_on_varied_inputs_is_what_it_is_by_hand(tiny_bert):
    batches = make_batches(((6, 9, 8, 7),) * 6)
    how = {"epochs": 1, "learning_rate": 1e-3, "bf16": False, "held_out": 0}
    chosen, asked, none = (
        distill(tiny_bert, tiny_bert, batches, how=Distillation(**how, token_replacement=share)).model.state_dict()
        for share in (None, 0.3, 0.0)
    )
    assert all(torch.equal(chosen[name], asked[name]) for name in chosen)
    assert any(not torch.equal(chosen[name], none[name]) for name in chosen)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range(share):
    with pytest.raises(InputError, match=r"`token_replacement` is .*, expected a share from 0 to 1"):
        Distillation(token_replacement=share)


def test_variations_that_serve_no_step():
    with pytest.raises(InputError, match="`repeats` is 0, expected at least 1"):
        Distillation(repeats=0)
