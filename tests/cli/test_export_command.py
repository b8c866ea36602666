import json

import pytest
import torch

import infoprune
from infoprune.serving.onnx_model import OnnxModel


def test_a_pruned_folder_becomes_a_graph_beside_its_comparison(run, small, reviews, tmp_path, tokenizer):
    file = tmp_path / "small.onnx"
    status, printed, err = run("export", small, file, "--data", reviews, "--samples", "20", "--int8", "--json")
    assert (status, err) == (0, "")
    exported = json.loads(printed)
    assert exported["bytes"] == file.stat().st_size
    assert (exported["inputs"], exported["int8"], exported["file"]) == (20, True, str(file))
    assert exported["kl"] > 0
    batch = tokenizer(["the film is great", "dull"], padding=True, return_tensors="pt")
    answers = infoprune.load(small)(**batch).logits.detach()
    assert torch.allclose(OnnxModel(file)(**batch).logits, answers, atol=0.1 * float(answers.abs().max()))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "no draft is left behind"


def test_without_a_file_the_graph_is_where_servers_look(run, saved_bert):
    (saved_bert / "onnx").mkdir()
    (saved_bert / "onnx" / "model_quantized.onnx").write_text("of an older model")
    before = {path.name: path.read_bytes() for path in saved_bert.iterdir() if path.is_file()}
    status, printed, err = run("export", saved_bert)
    assert (status, printed) == (2, "")
    assert f"{saved_bert}/onnx exists" in err
    assert "pass --force" in err
    status, printed, err = run("export", saved_bert, "--force")
    assert (status, err) == (0, "")
    for word in ("5 inputs", "1 x 64", "largest difference", "agreement", "onnx/model.onnx"):
        assert word in printed
    assert [path.name for path in (saved_bert / "onnx").iterdir()] == ["model.onnx"]
    after = {path.name: path.read_bytes() for path in saved_bert.iterdir() if path.is_file()}
    assert after == before
    assert {path.name for path in saved_bert.iterdir()} == {*before, "onnx"}, "no draft is left behind"


def test_prune_writes_graphs_beside_the_model(run, saved_bert, reviews, out, tokenizer):
    size = ("--keep", "0.5", "--samples", "16", "--no-repair")
    status, _, err = run("prune", saved_bert, out, "--data", reviews, *size, "--onnx", "--int8")
    assert (status, err) == (0, "")
    assert sorted(path.name for path in (out / "onnx").iterdir()) == ["model.onnx", "model_quantized.onnx"]
    batch = tokenizer(["the film is great", "dull"], padding=True, return_tensors="pt")
    answers = infoprune.load(out)(**batch).logits.detach()
    torch.testing.assert_close(OnnxModel(out / "onnx" / "model.onnx")(**batch).logits, answers, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--int8",), ["--int8", "--onnx", "pass --onnx too"]),
        (("--onnx", "--plan-only"), ["--onnx", "--plan-only", "leave one out"]),
    ],
)
def test_prune_refuses_graphs_that_it_would_not_write(refused, saved_bert, out, reviews, options, words):
    refused("prune", saved_bert, out, "--data", reviews, *options, words=words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--samples", "0"), ["--samples is 0"]),
        (("--data", "none.csv"), ["none.csv", "no such file"]),
        (("--max-length", "65"), ["64 positions"]),
    ],
)
def test_options_that_make_no_sense_are_refused(refused, saved_bert, out, options, words):
    refused("export", saved_bert, out.with_suffix(".onnx"), *options, words=words)


@pytest.mark.parametrize(
    ("suffix", "options", "words"),
    [
        ("", (), ["does not end in .onnx or .gguf", "/onnx/model.onnx"]),
        (".gguf", ("--int8",), ["--int8", "for .onnx only"]),
        (".gguf", ("--type", "f15"), ["--type is 'f15'", "f16", "q8_0"]),
        (".onnx", ("--type", "f16"), ["--type", "for .gguf only"]),
    ],
)
def test_a_file_of_another_type_is_refused(refused, saved_bert, out, suffix, options, words):
    refused("export", saved_bert, out.with_suffix(suffix), *options, words=words)


def test_a_name_on_the_hub_has_no_folder_to_write_into(refused, out):
    refused("export", "owner/name", words=["no folder owner/name", "name of a file"])
