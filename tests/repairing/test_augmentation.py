import pytest
import torch
from tiny import make_batches
from zoo import build

from infoprune.budgets.allocate import Keep, allocate
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import rank
from infoprune.repairing.augmentation import MOST, augmentations_for, with_augmentations
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect, collect_importance
from infoprune.statistics.token_replacement import uniform_replacement
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

BATCHES = make_batches(((7, 12, 9), (10, 12)))
PAD, CLS = 0, 2


def test_any_token_of_the_table_is_drawn_but_for_the_frame_and_named_ones(tiny_bert):
    replacement = uniform_replacement(tiny_bert, BATCHES, 1.0)
    everything = set(range(tiny_bert.config.vocab_size))
    assert set(replacement.frame.tolist()) == {PAD, CLS}
    assert set(replacement.tokens.tolist()) == everything - {PAD, CLS}
    ids = replacement.of(BATCHES[0], 0)["input_ids"]
    real = BATCHES[0]["attention_mask"].bool()
    assert (ids[:, 0] == CLS).all()
    assert (ids[~real] == PAD).all()
    assert (ids[:, 1:][real[:, 1:]] != BATCHES[0]["input_ids"][:, 1:][real[:, 1:]]).double().mean() > 0.9


def test_augmentations_come_after_the_inputs_and_their_tokens_have_the_importance_that_a_pass_gives_them(tiny_bert):
    sites = find_sites(tiny_bert)
    statistics = collect(tiny_bert, BATCHES)
    texts, importance = with_augmentations(tiny_bert, BATCHES, statistics, 2, sites=sites)
    assert [each["input_ids"].shape for each in texts] == [each["input_ids"].shape for each in BATCHES] * 3
    assert all(torch.equal(text["input_ids"], batch["input_ids"]) for text, batch in zip(texts, BATCHES, strict=False))
    sampled = texts[len(BATCHES) :]
    assert not torch.equal(sampled[0]["input_ids"], sampled[2]["input_ids"]), "every copy is another"
    fresh = collect_importance(tiny_bert, texts, sites=sites)
    assert fresh.keys == importance.keys
    for name, each in fresh.importance.items():
        assert all(torch.equal(a, b) for a, b in zip(each, importance.importance[name], strict=True))
        assert fresh.levels[name] == pytest.approx(importance.levels[name], rel=1e-12)


def test_what_is_drawn_depends_on_the_batch_and_the_seed_alone(tiny_bert):
    sites, statistics = find_sites(tiny_bert), collect(tiny_bert, BATCHES)
    once, swapped, other = (
        with_augmentations(tiny_bert, batches, statistics, 1, sites=sites, seed=seed)[0]
        for batches, seed in ((BATCHES, 0), (BATCHES[::-1], 0), (BATCHES, 1))
    )
    assert torch.equal(once[2]["input_ids"], swapped[3]["input_ids"])
    assert not torch.equal(once[2]["input_ids"], other[2]["input_ids"])


@pytest.mark.parametrize(("augmentations", "given"), [(None, MOST), (2, 2)])
def test_prune_repairs_with_them(tiny_bert, augmentations, given):
    statistics = collect(tiny_bert, BATCHES)
    cut = apply_plan(tiny_bert, allocate(rank(statistics, ChannelInformation()), Keep(0.5)), statistics)
    texts, importance = with_augmentations(tiny_bert, BATCHES, statistics, given, sites=find_sites(tiny_bert))
    expected = repair(cut, tiny_bert, texts, statistics=importance, own=len(BATCHES))
    found = prune(tiny_bert, BATCHES, keep=0.5, settings=Settings(augmentations=augmentations)).model
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))


def test_many_inputs_are_enough(tiny_bert):
    """16 tokens for each input of the widest reader are wanted."""
    sites = find_sites(tiny_bert)
    widest = max(site.units * site.size for site in sites)
    one = make_batches(((widest,) * 8,))
    found = [augmentations_for(tiny_bert, one * times, sites) for times in (1, 2, 3)]
    assert found == [1, 0, 0]


@pytest.mark.parametrize(("head", "wanted"), [("SequenceClassification", MOST), ("TokenClassification", 0), ("", MOST)])
def test_an_answer_at_every_token_would_be_about_other_tokens(head, wanted):
    model = build("bert", auto=f"AutoModelFor{head}" if head else "AutoModel", num_labels=2)
    assert augmentations_for(model, BATCHES, find_sites(model)) == wanted


def test_pictures_have_no_tokens_to_replace(tiny_bert):
    assert uniform_replacement(tiny_bert, [{"pixel_values": torch.zeros(2, 3, 4, 4)}], 0.5) is None


def test_fewer_augmentations_than_none():
    with pytest.raises(InputError, match="`augmentations` is -1, expected 0 or more; leave it out"):
        Settings(augmentations=-1)


def test_a_copy_is_held_out_with_what_it_is_a_copy_of(make_tiny_bert):
    """Duplicated inputs add no information, except where a fit to one of them is scored on the other."""
    dense = make_tiny_bert(dtype=torch.float64)
    statistics = collect(dense, BATCHES)
    small = apply_plan(dense, allocate(rank(statistics, ChannelInformation()), Keep(0.5)), statistics)
    twice = [*BATCHES, *BATCHES]
    once, known, unknown = (
        repair(small, dense, *given, **more).state_dict()
        for *given, more in ((BATCHES, {}), (twice, {"own": len(BATCHES)}), (twice, {}))
    )
    assert all(torch.allclose(known[name], weight, rtol=1e-6, atol=1e-9) for name, weight in once.items())
    assert any(not torch.allclose(unknown[name], weight, rtol=1e-3) for name, weight in once.items())
