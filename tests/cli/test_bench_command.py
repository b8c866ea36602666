import json

import pytest

from infoprune.measuring.measure import count_bytes
from infoprune.serving.export import export


@pytest.fixture
def graph(tiny_bert, tokenizer, tmp_path):
    file = tmp_path / "dense.onnx"
    export(tiny_bert, file, [dict(tokenizer(["the film", "good"], padding=True, return_tensors="pt"))])
    return file


def test_folders_and_graphs_in_one_table(run, saved_bert, small, graph, reviews):
    models = [saved_bert, small, graph]
    shapes = ["--batch-size", "1,4", "--length", "8,16", "--repeats", "2", "--threads", "1"]
    status, printed, err = run("bench", *models, *shapes, "--eval", reviews, "--json", "--no-peak-memory")
    assert (status, err) == (0, "")
    bench = json.loads(printed)
    assert [(row["model"], row["inputs"], row["tokens"]) for row in bench["timed"]] == [
        (str(model), inputs, tokens) for tokens in (8, 16) for inputs in (1, 4) for model in models
    ]
    assert bench["bytes"] == {
        str(saved_bert): count_bytes(saved_bert),
        str(small): count_bytes(small),
        str(graph): graph.stat().st_size,
    }
    assert (bench["device"], bench["threads"], bench["repeats"]) == ("cpu", 1, 2)
    report = json.loads((small / "report.json").read_text())
    dense, pruned, same = bench["evaluated"]
    assert (pruned["metrics"], pruned["agreement"]) == (report["pruned"]["metrics"], report["agreement"])
    assert pruned["kl"] == pytest.approx(report["kl"], rel=1e-4)
    assert same["metrics"] == dense["metrics"]
    assert abs(same["kl"]) < 1e-9


def test_a_table_with_peak_memory(run, saved_bert):
    shape = ("--batch-size", "2", "--length", "8", "--repeats", "2", "--device", "cpu")
    status, printed, err = run("bench", saved_bert, *shape)
    assert (status, err) == (0, "")
    for word in ("2 x 8", "latency", "inputs/s", "speed-up", "1.00x (1.00 to 1.00)", "peak memory", "MB", "kB"):
        assert word in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch-size", "1,many"), ["'1,many'", "--batch-size 1,32"]),
        (("--batch-size", "0"), ["--batch-size is 0"]),
        (("--length", ","), ["--length is empty"]),
        (("--length", "65"), ["--length is 65", "at most the 64 positions", "--length 64"]),
        (("--repeats", "0"), ["--repeats is 0"]),
        (("--threads", "-1"), ["--threads is -1"]),
        (("--eval", "none.csv"), ["none.csv", "no such file"]),
        (("--device", "abacus"), ["'abacus'"]),
    ],
)
def test_options_that_make_no_sense_are_refused(refused, saved_bert, options, words):
    refused("bench", saved_bert, *options, words=words)


def test_models_that_cannot_be_set_side_by_side_are_refused(refused, saved_bert, reviews):
    refused("bench", words=["MODEL"])
    refused("bench", saved_bert, saved_bert, words=["expected different ones"])
    refused("bench", saved_bert, "none.onnx", words=["none.onnx", "check the path"])
    refused("bench", "half.onnx", "--eval", reviews, words=["tokenizer", "folder among the models"])
