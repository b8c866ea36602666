"""A graph answers as PyTorch does, whatever the shape of the batch."""

import copy
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
import zoo
from tiny import make_batches
from transformers import BertModel

import infoprune
from infoprune.errors import InputError
from infoprune.plan import Plan
from infoprune.serving.export import export, write_graphs
from infoprune.serving.onnx_model import OnnxModel
from infoprune.statistics.answer import pool_by
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan


def typed(batches):
    """Batches of two segments, as a tokenizer makes them of two texts."""
    return [
        {**batch, "token_type_ids": (torch.arange(batch["input_ids"].shape[1]) > 2).long() * batch["attention_mask"]}
        for batch in batches
    ]


def cut(model):
    """Half of the heads, and another number of neurons in every layer: no stock config can say this."""
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(0, n, 2 + index)) for index, (name, n) in enumerate(units.items())}
    return apply_plan(model, Plan(model.config.model_type, units, kept, "even", 0))


@pytest.fixture(scope="module")
def pruned(make_tiny_bert):
    return cut(make_tiny_bert())


@pytest.fixture(scope="module")
def files(pruned, tmp_path_factory):
    """The graph in float32 and in int8, each with what `export` says of it."""
    folder = tmp_path_factory.mktemp("graphs")
    asking = copy.deepcopy(pruned)  # what its config asks for in PyTorch becomes no output of the graph
    asking.config.return_dict, asking.config.output_hidden_states = False, True
    return {
        each.int8: (folder / each.file, each) for each in write_graphs(asking, folder, typed(make_batches()), int8=True)
    }


@pytest.mark.parametrize("lengths", [(1,), (64,), (3, 3, 3, 3, 3), (2, 17, 40)])
def test_any_shape_gets_the_answer_of_pytorch(files, pruned, lengths):
    file, _ = files[False]
    (batch,) = typed(make_batches((lengths,), seed=4))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
    np.testing.assert_allclose(logits, pruned(**batch).logits.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert torch.equal(OnnxModel(file)(**batch).logits, torch.from_numpy(logits))


def test_batch_and_length_are_open_and_the_file_stands_alone(files):
    file, exported = files[False]
    graph = onnx.load(file)
    onnx.checker.check_model(graph)
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    names = ("input_ids", "attention_mask", "token_type_ids")
    assert shapes == {name: ["batch_size", "sequence_length"] for name in names} | {"logits": ["batch_size", 2]}
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.onnx", "model_quantized.onnx"]
    assert exported.bytes == file.stat().st_size
    for path in (b"site-packages", bytes(file.parent)):
        assert path not in file.read_bytes(), "no path of this machine leaves it"


def test_the_comparison_says_what_was_compared(files):
    exported = files[False][1]
    assert exported.inputs == 7
    assert exported.shapes == ((4, 9), (3, 7), (1, 5), (1, 7))
    assert exported.difference < 1e-5 < exported.scale
    assert exported.agreement == 1
    assert abs(exported.kl) < 1e-9


def test_int8_is_smaller_and_says_what_it_costs(files, pruned):
    file, exported = files[True]
    assert exported.int8
    assert exported.bytes == file.stat().st_size < files[False][1].bytes
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= {node.op_type for node in onnx.load(file).graph.node}
    batches = typed(make_batches())
    ours = torch.cat([pruned(**batch).logits.detach() for batch in batches]).double()
    graph = OnnxModel(file)
    theirs = torch.cat([graph(**batch).logits for batch in batches]).double()
    p, q = ours.softmax(-1), theirs.softmax(-1)
    assert exported.kl == pytest.approx(float((p * (p / q).log()).sum(-1).mean()), abs=1e-9)
    assert exported.kl > 0
    assert exported.difference >= float((ours - theirs).abs().max()) > 1e-4


def test_the_graph_carries_its_config(files):
    for file, _ in files.values():
        config = OnnxModel(file).config
        assert (config.vocab_size, config.architectures) == (100, ["BertForSequenceClassification"])
        assert not hasattr(config, "quantization_config"), "the sizes are in the graph"


def test_openvino_reads_the_graph(files, pruned):
    compiled = openvino.Core().compile_model(files[False][0], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for lengths in ((1,), (2, 17, 40)):
        (batch,) = typed(make_batches((lengths,), seed=4))
        logits = compiled({name: tensor.numpy() for name, tensor in batch.items()})["logits"]
        np.testing.assert_allclose(logits, pruned(**batch).logits.detach(), rtol=1e-4, atol=1e-5)


def test_segments_that_are_not_given_are_zero(files, pruned):
    (batch,) = make_batches(((4, 6),))
    torch.testing.assert_close(OnnxModel(files[False][0])(**batch).logits, pruned(**batch).logits.detach())


def test_other_inputs_are_refused(files):
    with pytest.raises(InputError, match="the graph takes input_ids, attention_mask, token_type_ids, not pixel_values"):
        OnnxModel(files[False][0])(pixel_values=torch.zeros(1))


def test_an_encoder_without_a_head(tiny_bert, tmp_path):
    model = BertModel(tiny_bert.config, add_pooling_layer=False).eval()
    batches = make_batches()
    exported = infoprune.export(model, tmp_path / "encoder.onnx", batches)
    assert exported.kl is None
    assert exported.agreement == pytest.approx(1, abs=1e-6), "the mean cosine"
    states = OnnxModel(tmp_path / "encoder.onnx")(**batches[0]).last_hidden_state
    torch.testing.assert_close(states, model(**batches[0]).last_hidden_state.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("int8", [False, True])
def test_every_task_is_compared_in_its_own_way(make_tiny_bert, tmp_path, int8):
    model = make_tiny_bert(num_labels=3, problem_type="multi_label_classification")
    batches = make_batches()
    exported = export(model, tmp_path / "a.onnx", batches, int8=int8)
    graph = OnnxModel(tmp_path / "a.onnx")
    p, q = (
        torch.cat([each(**batch).logits.detach() for batch in batches]).double().sigmoid() for each in (model, graph)
    )
    nats = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert exported.kl == pytest.approx(float(nats.sum(-1).mean()), abs=1e-9)
    assert (exported.kl > 1e-7) == int8
    assert exported.agreement == float(((p > 0.5) == (q > 0.5)).all(-1).double().mean())


def test_an_embedding_is_pooled_as_the_model_says(tiny_bert, tmp_path):
    model = BertModel(tiny_bert.config, add_pooling_layer=False).eval()
    pool_by(model, "cls")
    exported = export(model, tmp_path / "a.onnx", make_batches(), int8=True)
    graph, cosines = OnnxModel(tmp_path / "a.onnx"), []
    for batch in make_batches():
        ours, theirs = (each(**batch).last_hidden_state[:, 0].detach() for each in (model, graph))
        cosines.append(torch.nn.functional.cosine_similarity(ours, theirs))
    assert exported.agreement == pytest.approx(float(torch.cat(cosines).mean()), rel=1e-6)


def test_blocks_that_are_left_out(tiny_bert, tmp_path):
    units = {site.name: site.units for site in find_sites(tiny_bert)}
    kept = {name: (0, 1) if name in ("layers.0.ffn", "layers.1.heads") else () for name in units}
    small = apply_plan(tiny_bert, Plan("bert", units, kept, "first", 0))
    exported = export(small, tmp_path / "a.onnx", make_batches(), int8=True)  # after the same in float32
    assert exported.difference < 0.1 * exported.scale
    assert [tensor.name for tensor in onnx.load(tmp_path / "a.onnx").graph.initializer if 0 in tensor.dims] == []


def test_layers_that_drop_coordinates(tiny_bert, tmp_path):
    hidden_sizes = [site.name for site in find_sites(tiny_bert, ["hidden-size-per-layer"])]
    units = dict.fromkeys(hidden_sizes, find_sites(tiny_bert, ["hidden-size"])[0].units)
    kept = {name: tuple(range(layer, units[name] - 3 * layer, 1 + layer)) for layer, name in enumerate(hidden_sizes)}
    exported = export(apply_plan(tiny_bert, Plan("bert", units, kept, "some", 0)), tmp_path / "a.onnx", make_batches())
    assert exported.difference < 1e-4 * exported.scale


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["distilbert", "deberta-v2", "modernbert"])
def test_other_families(model_type, tmp_path):
    model = cut(zoo.build(model_type, dtype=torch.float32))
    exported = export(model, tmp_path / "a.onnx", zoo.inputs(model_type))
    assert exported.difference < 1e-4 * exported.scale


def test_pictures(tmp_path):
    model = cut(zoo.build("vit", dtype=torch.float32))
    exported = infoprune.export(model, tmp_path / "onnx" / "model.onnx", zoo.inputs("vit"))
    assert exported.shapes == ((3, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8))
    assert exported.agreement == 1
    pictures = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    graph = OnnxModel(tmp_path / "onnx" / "model.onnx")
    torch.testing.assert_close(
        graph(pixel_values=pictures).logits, model(pictures).logits.detach(), rtol=1e-4, atol=1e-5
    )


# What is refused


def test_an_encoder_decoder_is_no_single_file(tmp_path):
    with pytest.raises(InputError, match=r"encoder-decoder, which is two graphs, .*; run infoprune export MODEL"):
        export(zoo.build("t5"), tmp_path / "t5.onnx", zoo.inputs("t5"))


def test_sound_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="speech-recognition, expected one that reads texts or pictures; run it in PyTorch"
    ):
        export(zoo.build("whisper"), tmp_path / "whisper.onnx", zoo.inputs("whisper"))


def test_other_tensors_are_refused(tiny_bert, tmp_path):
    with pytest.raises(InputError, match=r"inputs_embeds is no tensor of texts \(inputs, tokens\) or pictures"):
        export(tiny_bert, tmp_path / "a.onnx", [{"inputs_embeds": torch.zeros(1, 2, 32)}])


@pytest.mark.parametrize(
    ("name", "words"), [("graph.bin", "does not end in .onnx"), ("there.onnx", "exists.*`force=True`")]
)
def test_a_place_that_is_no_new_graph_is_refused(tiny_bert, tmp_path, name, words):
    (tmp_path / "there.onnx").write_text("mine")
    with pytest.raises(InputError, match=words):
        export(tiny_bert, tmp_path / name, make_batches())
    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_no_batches_are_refused(tiny_bert, tmp_path):
    with pytest.raises(InputError, match="`batches` is empty"):
        export(tiny_bert, tmp_path / "a.onnx", [])


def test_an_unfaithful_graph_is_not_written(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["infoprune.serving.export"], "TOLERANCE", 0.0)
    with pytest.raises(RuntimeError, match=r"differs from PyTorch by .*expected at most"):
        export(tiny_bert, tmp_path / "a.onnx", make_batches())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"not a graph"])
def test_a_file_that_is_no_graph_is_refused(tmp_path, content):
    file = tmp_path / "a.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.onnx"):
        OnnxModel(file)


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"pip install 'infoprune\[onnx\]'"):
        OnnxModel(tmp_path / "a.onnx")
