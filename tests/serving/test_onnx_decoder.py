"""ONNX Runtime writes what PyTorch writes, from graphs that take and return a cache."""

from types import SimpleNamespace

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
import zoo

from infoprune.errors import InputError
from infoprune.plan import Plan
from infoprune.serving.export import write_graphs
from infoprune.serving.onnx_decoder import write_decoder
from infoprune.serving.onnx_model import OnnxModel
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

TOKENS = 12  # more than the 8 of the window of Mistral


def cut(model, headless=()):
    """Other sizes in every layer, and layers without heads."""
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(0, n, 2 + index % 3)) for index, (name, n) in enumerate(units.items())}
    return apply_plan(model, Plan(model.config.model_type, units, kept | dict.fromkeys(headless, ()), "even", 0))


def text(lengths, seed=0):
    """Texts padded on the left, as for generate."""
    mask = (torch.arange(max(lengths)) >= max(lengths) - torch.tensor(lengths)[:, None]).long()
    return torch.randint(5, 100, mask.shape, generator=torch.Generator().manual_seed(seed)) * mask, mask


def written(model, ids, mask):
    settings = {"do_sample": False, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "pad_token_id": 0}
    return model.generate(input_ids=ids, attention_mask=mask, **settings)[:, -TOKENS:].numpy()


def written_by(session, ids, mask, empty):
    """The most likely tokens one after the other, in numpy: each call gets the cache that the last one returned."""
    names = [value.name for value in session.get_inputs()]
    cached = [name for name in names if name.startswith("past_key_values.")]
    shapes = [empty] * len(cached) if isinstance(empty, tuple) else empty
    cache = {name: np.zeros((len(ids), *shape), np.float32) for name, shape in zip(cached, shapes, strict=True)}
    ids, mask, found = ids.numpy(), mask.numpy(), []
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    for _ in range(TOKENS):
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **cache}
        logits, *new = session.run(None, {name: given[name] for name in names})
        logits[:, :, 2] = -np.inf  # the end, which written() forbids
        ids = logits[:, -1:].argmax(-1)
        mask, positions = np.concatenate([mask, np.ones_like(ids)], 1), positions[:, -1:] + 1
        cache = dict(zip(cache, new, strict=True))
        found.append(ids)
    return np.concatenate(found, 1)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def exported(request, tmp_path_factory):
    """A language model whose layers differ, GPT-2 with one without heads; its graphs, and what is said of them."""
    model = zoo.build(request.param, dtype=torch.float32)
    small = cut(model, headless=["layers.1.heads"] if request.param == "gpt2" else [])
    folder = tmp_path_factory.mktemp(request.param)
    return small, folder, write_graphs(small, folder, zoo.inputs(request.param), int8=True)


@pytest.mark.parametrize("lengths", [(1, 1, 1, 1), (3, 9, 1)])
@pytest.mark.parametrize("empty", [(2, 0, 8), (6, 0, 40)], ids=["an empty cache", "an empty cache of another shape"])
def test_onnxruntime_writes_the_tokens_of_pytorch(exported, lengths, empty):
    small, folder, _ = exported
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids, mask = text(lengths)
    expected = written(small, ids, mask)
    assert len(np.unique(expected)) > 2, "else any graph would write this"
    np.testing.assert_array_equal(written_by(session, ids, mask, empty), expected)


class OpenVino:
    """A graph in OpenVINO, with the two methods of a session of ONNX Runtime."""

    def __init__(self, file):
        self.compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def get_inputs(self):
        return [SimpleNamespace(name=each.get_any_name()) for each in self.compiled.inputs]

    def run(self, _names, given):
        return [np.array(answer) for answer in self.compiled(given).values()]


def test_openvino_writes_the_tokens_of_pytorch(exported):
    """From an empty cache of the true shape, which the outputs have."""
    small, folder, _ = exported
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    empty = [(value.shape[1], 0, value.shape[3]) for value in session.get_outputs()[1:]]
    ids, mask = text((3, 9, 1))
    found = written_by(OpenVino(folder / "model.onnx"), ids, mask, empty)
    np.testing.assert_array_equal(found, written(small, ids, mask))


def test_a_cache_of_some_tokens_must_have_its_shape(exported):
    _, folder, _ = exported
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids, mask = text((3,))
    with pytest.raises(Exception, match="Reshape"):
        written_by(session, ids, mask, (7, 1, 8))


def test_the_outputs_have_the_sizes_of_the_layers(exported):
    small, folder, _ = exported
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    cache = small(input_ids=torch.ones(1, 2, dtype=torch.long), use_cache=True).past_key_values
    expected = {}
    for number, layer in enumerate(cache.layers):
        for kind, tensor in (("key", layer.keys), ("value", layer.values)):
            sizes = ["batch_size", tensor.shape[1], "total_sequence_length", tensor.shape[3]]
            expected[f"present.{number}.{kind}"] = sizes
    assert expected["present.0.key"] != expected["present.1.key"]
    assert {value.name: value.shape for value in session.get_outputs()[1:]} == expected


def test_the_comparison_counts_the_tokens_that_follow(exported):
    small, folder, (exact, int8) = exported
    assert (exact.file, int8.file, exact.agreement) == ("model.onnx", "model_quantized.onnx", 1)
    assert exact.difference < 1e-4 * exact.scale
    graph, nats = OnnxModel(folder / int8.file), []
    for batch in zoo.inputs("llama"):
        real = batch["attention_mask"][:, 1:].bool()
        p, q = (each(**batch).logits.detach().double()[:, :-1][real].log_softmax(-1) for each in (small, graph))
        nats.append((p.exp() * (p - q)).sum(-1))
    assert int8.kl == pytest.approx(float(torch.cat(nats).mean()), rel=1e-6)
    assert int8.kl > 1e-5


def test_a_layer_without_keys_and_values_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"layer 0 of this lfm2 keeps other states than keys and values.*in PyTorch"):
        write_decoder(zoo.build("lfm2", torch.float32), tmp_path / "model.onnx")
