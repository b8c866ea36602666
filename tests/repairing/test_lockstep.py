import copy
import gc

import pytest
import torch
from greenlet import greenlet
from tiny import captured, logits_of, make_batches
from torch.testing import assert_close
from transformers import Cache
from zoo import answers, build, inputs

from infoprune.repairing.lockstep import Lockstep, PausePoint
from infoprune.structure.sites import find_sites


def pause_points(model):
    steps = []
    for site in find_sites(model):
        steps += [PausePoint(producer.module, None) for producer in site.refit]
        steps.append(PausePoint(site.reader, site.stream))
    return steps


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def suspended():
    gc.collect()
    return sum(type(each) is greenlet and bool(each) and each.parent is not None for each in gc.get_objects())


def test_passes_are_plain_forwards(tiny_bert64):
    batches = make_batches()
    points = pause_points(tiny_bert64)
    seen = []
    with captured(tiny_bert64, "classifier") as calls, Lockstep(tiny_bert64, batches, points) as passes:
        while paused := passes.advance():
            assert len(paused) == len(batches)
            assert len({each.module for each in paused}) == 1
            seen.append(paused)
            passes.resume([each.total for each in paused])
    assert [paused[0].module for paused in seen] == [point.module for point in points]
    assert torch.equal(torch.cat([y for _, y in calls]), logits_of(tiny_bert64, batches))
    for point, paused in zip(points, seen, strict=True):
        with captured(tiny_bert64, point.module) as plain:
            logits_of(tiny_bert64, batches)
        for each, (x, y) in zip(paused, plain, strict=True):
            assert torch.equal(each.x, x)
            assert torch.equal(each.y, y)


def test_an_output_that_is_scaled_before_it_is_added():
    model, batches = build("granite"), inputs("granite")
    points = [PausePoint(site.reader, site.stream, site.scale) for site in find_sites(model, ["ffn"])]
    assert {point.scale for point in points} == {0.3}
    totals = []
    with captured(model, "model.layers.0") as calls, Lockstep(model, batches, points) as passes:
        while paused := passes.advance():
            totals.append(paused)
            passes.resume([each.total for each in paused])
    for each, (_, written) in zip(totals[0], calls, strict=True):
        assert_close(each.total, written, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model_type", ["bert", "llama", "t5"])
def test_plain_passes_give_the_same_outputs(model_type):
    model = build(model_type)
    other, points = copy.deepcopy(model), pause_points(model)
    with (
        Lockstep(model, inputs(model_type), points) as passes,
        Lockstep(other, inputs(model_type), points, plain=True) as plain,
    ):
        for _ in points:
            paused, given = passes.advance(), plain.advance()
            for one, same in zip(paused, given, strict=True):
                assert one.module == same.module
                assert torch.equal(one.y, same.y)
                assert torch.equal(one.total, same.total)
                assert same.x.numel() == 0
            passes.resume([each.total for each in paused])


def test_total_is_the_output_with_the_residual(tiny_bert64):
    batches = make_batches()
    site = find_sites(tiny_bert64, ["heads"])[1]
    with (
        captured(tiny_bert64, "bert.encoder.layer.0") as below,
        Lockstep(tiny_bert64, batches, [PausePoint(site.reader, site.stream)]) as passes,
    ):
        for each, (_, residual) in zip(passes.advance(), below, strict=True):
            stream = residual[0] if isinstance(residual, tuple) else residual
            assert_close(each.total, each.y + stream)


@pytest.mark.parametrize("stream", [True, False])
def test_a_replacement_takes_effect(tiny_bert64, stream):
    batches = make_batches()
    site = find_sites(tiny_bert64)[0]
    point = PausePoint(site.reader, site.stream if stream else None)
    with captured(tiny_bert64, "classifier") as calls, Lockstep(tiny_bert64, batches, [point]) as passes:
        passes.resume([each.total + 0.5 for each in passes.advance()])
        assert passes.advance() == []
        assert passes.advance() == []  # and again at the end
    tiny_bert64.get_submodule(site.reader).bias.data += 0.5
    assert_close(torch.cat([y for _, y in calls]), logits_of(tiny_bert64, batches))


def test_every_pass_gets_its_own_reply(tiny_bert64):
    batches = make_batches()
    site = find_sites(tiny_bert64)[0]
    point = PausePoint(site.reader, site.stream)
    with captured(tiny_bert64, "classifier") as calls, Lockstep(tiny_bert64, batches, [point]) as passes:
        first, second = passes.advance()
        passes.resume([first.total, second.total * 0])
        passes.advance()
    plain = [logits_of(tiny_bert64, [batch]) for batch in batches]
    assert torch.equal(calls[0][1], plain[0])
    assert (calls[1][1] - plain[1]).abs().max() > 1e-3


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_leaving_early_cleans_up(tiny_bert, rounds):
    before, asleep = hooks(tiny_bert), suspended()
    with Lockstep(tiny_bert, make_batches(), pause_points(tiny_bert)) as passes:
        for _ in range(rounds):
            passes.resume([each.total for each in passes.advance()])
        assert hooks(tiny_bert) > before
        assert suspended() == asleep + 2 * bool(rounds)
    assert hooks(tiny_bert) == before
    assert suspended() == asleep


@pytest.mark.parametrize("enabled", [True, False])
def test_the_grad_mode_is_what_it_was(tiny_bert, enabled):
    with torch.set_grad_enabled(enabled):
        with Lockstep(tiny_bert, make_batches(), pause_points(tiny_bert)) as passes:
            paused = passes.advance()
            assert torch.is_grad_enabled() == enabled
            assert not any(each.total.requires_grad for each in paused)
        assert torch.is_grad_enabled() == enabled


def stop(module, inputs, output):
    raise KeyError("stop")


def run_through(passes, error=None):
    with passes:
        while paused := passes.advance():
            if error is not None:
                raise error
            passes.resume([each.total for each in paused])


def test_an_error_in_a_forward_comes_out(tiny_bert):
    before, asleep = hooks(tiny_bert), suspended()
    passes = Lockstep(tiny_bert, make_batches(), pause_points(tiny_bert))
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
        run_through(Lockstep(tiny_bert, make_batches(), pause_points(tiny_bert)), KeyError("mine"))
    assert (hooks(tiny_bert), suspended()) == (before, asleep)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bart", "t5", "marian"])
def test_passes_keep_no_keys_and_values(model_type, monkeypatch):
    model = build(model_type)
    kept = []
    monkeypatch.setattr(Cache, "update", lambda self, key, value, *_, **__: kept.append(1) or (key, value))
    with Lockstep(model, inputs(model_type), pause_points(model)) as passes:
        while paused := passes.advance():
            passes.resume([each.total for each in paused])
    assert not kept
    answers(model, inputs(model_type))
    assert kept, "what a plain pass keeps"
