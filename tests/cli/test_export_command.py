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


def test_without_data_a_few_texts_are_built_in(run, saved_bert, tmp_path):
    status, printed, err = run("export", saved_bert, tmp_path / "dense.onnx")
    assert (status, err) == (0, "")
    for word in ("5 texts", "1 x 64", "largest difference", "agreement", "dense.onnx"):
        assert word in printed


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


def test_another_suffix_is_refused(refused, saved_bert, out):
    refused("export", saved_bert, out, words=["does not end in .onnx"])
