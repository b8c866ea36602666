import gc

import pytest
import torch
from greenlet import greenlet
from tiny import captured, logits_of, make_batches
from torch.testing import assert_close
from transformers import Cache
from zoo import answers, build, inputs

from infoprune.repair.lockstep import Lockstep, Meeting
from infoprune.structure.sites import find_sites


def meetings(model):
    places = []
    for site in find_sites(model):
        places += [Meeting(producer.module, None) for producer in site.refit]
        places.append(Meeting(site.reader, site.stream))
    return places


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def suspended():
    gc.collect()
    return sum(type(each) is greenlet and bool(each) and each.parent is not None for each in gc.get_objects())


def test_passes_are_plain_forwards(tiny_bert64):
    batches = make_batches()
    met = meetings(tiny_bert64)
    seen = []
    with captured(tiny_bert64, "classifier") as calls, Lockstep(tiny_bert64, batches, met) as passes:
        while arrivals := passes.arrive():
            assert len(arrivals) == len(batches)
            assert len({arrival.place for arrival in arrivals}) == 1
            seen.append(arrivals)
            passes.resume([arrival.total for arrival in arrivals])
    assert [arrivals[0].place for arrivals in seen] == [meeting.place for meeting in met]
    assert torch.equal(torch.cat([y for _, y in calls]), logits_of(tiny_bert64, batches))
    for meeting, arrivals in zip(met, seen, strict=True):
        with captured(tiny_bert64, meeting.place) as plain:
            logits_of(tiny_bert64, batches)
        for arrival, (x, y) in zip(arrivals, plain, strict=True):
            assert torch.equal(arrival.x, x)
            assert torch.equal(arrival.y, y)


def test_total_is_the_output_with_the_residual(tiny_bert64):
    batches = make_batches()
    site = find_sites(tiny_bert64, ["heads"])[1]
    with (
        captured(tiny_bert64, "bert.encoder.layer.0") as below,
        Lockstep(tiny_bert64, batches, [Meeting(site.reader, site.stream)]) as passes,
    ):
        for arrival, (_, residual) in zip(passes.arrive(), below, strict=True):
            stream = residual[0] if isinstance(residual, tuple) else residual
            assert_close(arrival.total, arrival.y + stream)


@pytest.mark.parametrize("stream", [True, False])
def test_a_replacement_takes_effect(tiny_bert64, stream):
    batches = make_batches()
    site = find_sites(tiny_bert64)[0]
    meeting = Meeting(site.reader, site.stream if stream else None)
    with captured(tiny_bert64, "classifier") as calls, Lockstep(tiny_bert64, batches, [meeting]) as passes:
        passes.resume([arrival.total + 0.5 for arrival in passes.arrive()])
        assert passes.arrive() == []
        assert passes.arrive() == []  # and again at the end
    tiny_bert64.get_submodule(site.reader).bias.data += 0.5
    assert_close(torch.cat([y for _, y in calls]), logits_of(tiny_bert64, batches))


def test_every_pass_gets_its_own_reply(tiny_bert64):
    batches = make_batches()
    site = find_sites(tiny_bert64)[0]
    meeting = Meeting(site.reader, site.stream)
    with captured(tiny_bert64, "classifier") as calls, Lockstep(tiny_bert64, batches, [meeting]) as passes:
        first, second = passes.arrive()
        passes.resume([first.total, second.total * 0])
        passes.arrive()
    plain = [logits_of(tiny_bert64, [batch]) for batch in batches]
    assert torch.equal(calls[0][1], plain[0])
    assert (calls[1][1] - plain[1]).abs().max() > 1e-3


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_leaving_early_cleans_up(tiny_bert, rounds):
    before, asleep = hooks(tiny_bert), suspended()
    with Lockstep(tiny_bert, make_batches(), meetings(tiny_bert)) as passes:
        for _ in range(rounds):
            passes.resume([arrival.total for arrival in passes.arrive()])
        assert hooks(tiny_bert) > before
        assert suspended() == asleep + 2 * bool(rounds)
    assert hooks(tiny_bert) == before
    assert suspended() == asleep


@pytest.mark.parametrize("enabled", [True, False])
def test_the_grad_mode_is_what_it_was(tiny_bert, enabled):
    with torch.set_grad_enabled(enabled):
        with Lockstep(tiny_bert, make_batches(), meetings(tiny_bert)) as passes:
            arrivals = passes.arrive()
            assert torch.is_grad_enabled() == enabled
            assert not any(arrival.total.requires_grad for arrival in arrivals)
        assert torch.is_grad_enabled() == enabled


def stop(module, inputs, output):
    raise KeyError("stop")


def run_through(passes, error=None):
    with passes:
        while arrivals := passes.arrive():
            if error is not None:
                raise error
            passes.resume([arrival.total for arrival in arrivals])


def test_an_error_in_a_forward_comes_out(tiny_bert):
    before, asleep = hooks(tiny_bert), suspended()
    passes = Lockstep(tiny_bert, make_batches(), meetings(tiny_bert))
    handle = tiny_bert.bert.encoder.layer[1].register_forward_pre_hook(
        lambda module, inputs: stop(module, inputs, None)
    )
    with pytest.raises(KeyError, match="stop"):
        run_through(passes)
    handle.remove()
    assert (hooks(tiny_bert), suspended()) == (before, asleep)
    assert torch.is_grad_enabled()
    assert torch.isfinite(logits_of(tiny_bert, make_batches())).all()


def test_an_error_outside_cleans_up_too(tiny_bert):
    before, asleep = hooks(tiny_bert), suspended()
    with pytest.raises(KeyError, match="mine"):
        run_through(Lockstep(tiny_bert, make_batches(), meetings(tiny_bert)), KeyError("mine"))
    assert (hooks(tiny_bert), suspended()) == (before, asleep)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bart", "t5", "marian"])
def test_passes_keep_no_keys_and_values(model_type, monkeypatch):
    model = build(model_type)
    kept = []
    monkeypatch.setattr(Cache, "update", lambda self, key, value, *_, **__: kept.append(1) or (key, value))
    with Lockstep(model, inputs(model_type), meetings(model)) as passes:
        while arrivals := passes.arrive():
            passes.resume([arrival.total for arrival in arrivals])
    assert not kept
    answers(model, inputs(model_type))
    assert kept, "what a plain pass keeps"
