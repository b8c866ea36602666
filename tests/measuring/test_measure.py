import time

import pytest
import torch
from torch import nn
from zoo import build

from infoprune.errors import InputError
from infoprune.measuring.measure import (
    Latency,
    count_bytes,
    count_flops,
    count_parameters,
    example_batch,
    measure_latency,
)

HIDDEN, LAYERS, INTERMEDIATE, VOCABULARY, POSITIONS, CLASSES = 32, 2, 64, 100, 64, 2


def parameters_by_hand():
    norm = 2 * HIDDEN
    embeddings = (VOCABULARY + POSITIONS + 2) * HIDDEN + norm
    attention = 4 * (HIDDEN * HIDDEN + HIDDEN) + norm
    feed_forward = 2 * HIDDEN * INTERMEDIATE + INTERMEDIATE + HIDDEN + norm
    head = HIDDEN * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES
    return embeddings + LAYERS * (attention + feed_forward) + head


def flops_by_hand(inputs, length):
    products = 4 * HIDDEN * HIDDEN + 2 * HIDDEN * INTERMEDIATE
    attention = 2 * length * HIDDEN
    head = HIDDEN * HIDDEN + HIDDEN * CLASSES
    return 2 * inputs * (LAYERS * length * (products + attention) + head)


class Sleeper(nn.Module):
    """Takes a known time, and notes in which order it was called."""

    def __init__(self, seconds, calls):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seconds, self.calls = seconds, calls

    def forward(self, input_ids):
        self.calls.append((self.seconds, self.training, torch.is_inference_mode_enabled()))
        time.sleep(self.seconds)
        return self.scale * input_ids


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3, bias=False))

    def forward(self, x):
        return self.layers(x)


def test_parameters_are_those_of_the_formula(tiny_bert):
    assert count_parameters(tiny_bert) == parameters_by_hand()


def test_shared_parameters_count_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert count_parameters(nn.Sequential(first, second)) == 16 + 4 + 4
    assert count_bytes(nn.Sequential(first, second)) == 4 * 24


def test_bytes_follow_the_dtype_and_the_files(make_tiny_bert, tmp_path):
    model = make_tiny_bert(torch.bfloat16)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert count_bytes(model) == 2 * parameters_by_hand() + buffers
    model.save_pretrained(tmp_path)
    assert count_bytes(tmp_path) == (tmp_path / "model.safetensors").stat().st_size
    assert 0 <= count_bytes(str(tmp_path)) - 2 * parameters_by_hand() < 8192


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no weight file \(\*\.safetensors.*pass the folder of a saved model"):
        count_bytes(tmp_path)


def test_flops_of_linear_maps_are_two_m_n_k():
    assert count_flops(Stack(), {"x": torch.zeros(11, 5)}) == 2 * 11 * (5 * 7 + 7 * 3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("padded", [False, True])
def test_flops_of_a_transformer_are_those_of_the_formula(make_tiny_bert, attention, padded):
    model = make_tiny_bert(attn_implementation=attention).train()
    batch = example_batch(model.config, batch_size=3, length=16)
    if padded:
        batch["attention_mask"][0, 9:] = 0
    labelled = {**batch, "labels": torch.tensor([0, 1, 0])}
    assert count_flops(model, batch) == flops_by_hand(3, 16)
    assert count_flops(model, labelled) == flops_by_hand(3, 16)
    assert model.training


def test_latency_is_in_milliseconds_and_runs_alternate():
    calls = []
    slow, quick = Sleeper(0.02, calls).eval(), Sleeper(0.005, calls).train()
    batch = {"input_ids": torch.ones(1), "labels": torch.ones(1)}
    latencies = measure_latency([slow, quick], batch, repeats=3, warmup=1)
    assert [seconds for seconds, _, _ in calls] == [0.02, 0.005] * 4
    assert not any(training for _, training, _ in calls)
    assert all(inference for _, _, inference in calls)
    assert (slow.training, quick.training) == (False, True)
    for latency, least in zip(latencies, (20, 5), strict=True):
        assert least <= latency.low <= latency.median <= latency.high < 40 * least


def test_one_repeat_is_its_own_quartiles():
    (latency,) = measure_latency([Sleeper(0.001, [])], {"input_ids": torch.ones(1)}, repeats=1, warmup=0)
    assert latency == Latency(latency.median, latency.median, latency.median)


@pytest.mark.parametrize("counts", [{"repeats": 0}, {"warmup": -1}])
def test_counts_out_of_range_are_refused(counts):
    with pytest.raises(ValueError, match="expected repeats >= 1 and warmup >= 0; pass"):
        measure_latency([Stack()], {"x": torch.zeros(1, 5)}, **counts)


def test_the_example_batch_is_valid_and_always_the_same(tiny_bert):
    batch = example_batch(tiny_bert.config, batch_size=2, length=5)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 5)
    assert batch["input_ids"].max() < VOCABULARY
    assert (batch["attention_mask"] == 1).all()
    assert torch.equal(batch["input_ids"], example_batch(tiny_bert.config, 2, 5)["input_ids"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_sound_is_given_in_the_precision_of_the_model(dtype):
    model = build("whisper", dtype)
    batch = example_batch(model.config, batch_size=2, length=5)
    assert batch["input_features"].dtype == torch.float32
    assert count_flops(model, batch) == count_flops(model.float(), batch)
