"""What `collect` leaves behind, half precision, and inputs that it must refuse."""

import pytest
import torch
from tiny import make_batches
from torch.testing import assert_close

from infoprune.errors import InputError
from infoprune.statistics.collect import collect


def state_of(model):
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [len(module._forward_hooks) for module in model.modules()],
    )


def break_weight(model, value=torch.nan):
    model.bert.encoder.layer[1].output.dense.weight.data[3, 4] = value


def refuse(module, inputs, output):
    raise KeyError("stop")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(tiny_bert, training, fails):
    tiny_bert.train(training)
    tiny_bert.classifier.eval()  # a part of a model may be in a mode of its own
    tiny_bert.bert.embeddings.requires_grad_(False)
    weights = {name: tensor.clone() for name, tensor in tiny_bert.state_dict().items()}
    before = state_of(tiny_bert)
    if fails:
        handle = tiny_bert.bert.pooler.register_forward_hook(refuse)
        with pytest.raises(KeyError, match="stop"):
            collect(tiny_bert, make_batches())
        handle.remove()
    else:
        collect(tiny_bert, make_batches())
    assert state_of(tiny_bert) == before
    assert all(torch.equal(weights[name], tensor) for name, tensor in tiny_bert.state_dict().items())


def test_dropout_is_off(make_tiny_bert):
    model = make_tiny_bert(hidden_dropout_prob=0.5)
    expected = collect(model, make_batches()).sites["layers.1.ffn"]
    found = collect(model.train(), make_batches()).sites["layers.1.ffn"]
    assert torch.equal(found.fisher, expected.fisher)
    assert torch.equal(found.covariance, expected.covariance)


def test_under_no_grad_too(tiny_bert):
    expected = collect(tiny_bert, make_batches()).sites["layers.0.ffn"].fisher
    with torch.no_grad():
        found = collect(tiny_bert, make_batches()).sites["layers.0.ffn"].fisher
        assert not torch.is_grad_enabled()
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_is_near_single(make_tiny_bert, dtype, tolerance):
    batches = make_batches()
    half = make_tiny_bert(dtype)
    expected = collect(make_tiny_bert(dtype).float(), batches)  # the same rounded weights
    found = collect(half, batches)
    for name, site in found.sites.items():
        for field in ("fisher", "covariance"):
            value, wanted = getattr(site, field), getattr(expected.sites[name], field)
            assert value.dtype == torch.float64
            assert torch.isfinite(value).all()
            assert float((value - wanted).norm() / wanted.norm()) < tolerance


def test_a_sure_prediction_in_half_precision_keeps_its_gradient(make_tiny_bert):
    model = make_tiny_bert(torch.float16)
    model.classifier.bias.data += torch.tensor([12.0, 0.0]).half()
    expected = collect(make_tiny_bert(torch.float16).float(), make_batches())
    assert all(float(site.fisher.diagonal().sum()) > 0 for site in collect(model, make_batches()).sites.values())
    assert all(float(site.fisher.diagonal().sum()) > 0 for site in expected.sites.values())


def test_a_certain_prediction_demands_nothing(make_tiny_bert):
    model = make_tiny_bert(torch.float64)
    model.classifier.bias.data += torch.tensor([5000.0, 0.0])
    statistics = collect(model, make_batches()).sites["layers.0.ffn"]
    assert statistics.fisher.count_nonzero() == 0
    assert_close(statistics.moments.mean, statistics.tokens.mean)  # all tokens alike


def test_a_text_of_padding_alone_does_no_harm(tiny_bert64):
    batches = make_batches()
    batches[0]["attention_mask"][1] = 0
    for site in collect(tiny_bert64, batches).sites.values():
        assert torch.isfinite(site.covariance).all()
        assert torch.isfinite(site.fisher).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_broken_weights(tiny_bert, value):
    break_weight(tiny_bert, value)
    with pytest.raises(
        InputError, match=r"weight bert\.encoder\.layer\.1\.output\.dense\.weight holds NaN or infinite"
    ):
        collect(tiny_bert, make_batches())


@pytest.mark.parametrize("labels", [2, 20])
def test_broken_activations(make_tiny_bert, labels):
    model = make_tiny_bert(num_labels=labels)
    model.bert.encoder.layer[0].output.dense.weight.data *= 1e38  # finite, but not what comes out
    with pytest.raises(InputError, match=r"not finite.*float32"):
        collect(model, make_batches())


def test_all_padding(tiny_bert):
    batches = make_batches()
    for batch in batches:
        batch["attention_mask"].zero_()
    with pytest.raises(InputError, match=r"padding.*at least one real token"):
        collect(tiny_bert, batches)


def test_no_batches(tiny_bert):
    with pytest.raises(InputError, match=r"no calibration inputs.*pass some texts"):
        collect(tiny_bert, [])
