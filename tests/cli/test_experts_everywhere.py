"""A model of experts from the command line: what every command does with it, and what is refused."""

import json

import pytest
import torch
from zoo import build

import infoprune
from infoprune.structure.sites import find_sites


@pytest.fixture
def experts(tokenizer, tmp_path):
    folder = tmp_path / "experts"
    build("mixtral", dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"  # this model knows no token types
    names = {"model_input_names": ["input_ids", "attention_mask"]}
    file.write_text(json.dumps({**json.loads(file.read_text()), **names}))
    return folder


def cells_of(folder):
    return [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]


def test_rivals_of_experts_are_compared_by_default(run, experts, texts, out):
    """On the experts alone, which all of them rank."""
    status, _, err = run("compare", experts, out, "--data", texts, "--eval", texts, "--keep", "0.5")
    assert (status, err) == (0, "")
    cells = cells_of(out)
    assert [cell["criterion"] for cell in cells] == ["information", "reap", "frequency", "random"]
    assert all(cell["kept"] == {"layers.0.experts": 2, "layers.1.experts": 2} for cell in cells)


def test_a_comparison_of_named_structures(run, experts, texts, out, tmp_path):
    arguments = ("--data", texts, "--eval", texts, "--budget", "params=0.7", "--structures")
    assert run("compare", experts, out, *arguments, "heads,experts", "--criteria", "random")[0] == 0
    (cell,) = cells_of(out)
    assert {name.rpartition(".")[2] for name in cell["kept"]} == {"heads", "experts"}
    assert cell["parameters"] <= 0.7
    heads = tmp_path / "heads"
    both = ("--criteria", "wanda,kprune", "--repair-method", "own", "--keep", "0.5")
    assert run("compare", experts, heads, "--data", texts, "--eval", texts, "--structures", "heads", *both)[0] == 0
    assert all(cell["kept"] == {"layers.0.heads": 2, "layers.1.heads": 2} for cell in cells_of(heads))


def test_what_cannot_be_compared(refused, experts, texts, out):
    given = ("compare", experts, out, "--data", texts, "--eval", texts, "--keep", "0.5")
    refused(*given, "--criteria", "wanda", words=["no score for layers.0.experts", "--criteria information"])
    refused(*given, "--criteria", "kprune", words=["kprune has no score for experts", "--structures heads"])
    refused(*given, "--criteria", "slicegpt", words=["cannot be rotated"])
    heads = ("--structures", "heads", "--criteria", "reap")
    refused(*given, *heads, words=["'reap' scores experts", "--structures experts", "--criteria information"])


def test_depth_and_allocation_leave_the_default_of_experts(run, experts, texts, out):
    """A default that other options qualify is still half of the parameters, not of the FLOPs."""
    status, _, err = run("prune", experts, out, "--data", texts, "--allocation", "uniform", "--no-repair")
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert report["pruned"]["parameters"] <= 0.5 * report["dense"]["parameters"]


def test_every_other_command(run, experts, texts, out, tmp_path):
    half = tmp_path / "half"
    chosen = ("--structures", "experts", "--keep", "0.5")
    assert run("collect", experts, tmp_path / "statistics", "--data", texts)[0] == 0
    by = ("--statistics", tmp_path / "statistics")
    assert run("prune", experts, half, "--data", texts, "--eval", texts, "--keep", "0.5", *by)[0] == 0
    assert run("prune", experts, tmp_path / "two", "--data", texts, *chosen, "--distill", "1", "--rounds", "2")[0] == 0
    assert run("finetune", half, tmp_path / "tuned", "--data", texts, "--teacher", experts)[0] == 0
    for folder in (half, tmp_path / "two", tmp_path / "tuned"):
        assert [site.units for site in find_sites(infoprune.load(folder), ["experts"])] == [2, 2]
    report = json.loads((half / "report.json").read_text())
    scores = json.loads(run("evaluate", half, "--eval", texts, "--against", experts, "--json")[1])["metrics"]
    assert scores["kl"] == pytest.approx(report["kl"], rel=1e-4)
    options = ("--batch-size", "2", "--length", "8", "--repeats", "1", "--no-peak-memory", "--json")
    assert len(json.loads(run("bench", experts, half, *options)[1])["timed"]) == 2
    assert run("report", half)[0] == 0


def test_what_is_refused(refused, experts, texts, out):
    refused("export", experts, words=["tokens choose experts", "run it in PyTorch"])
    refused("export", experts, f"{out}.gguf", words=["not written as .gguf", "run this model in PyTorch"])
    refused("forecast", experts, words=["has experts, which a forecast does not support", "leave --memory out"])
    refused("prune", experts, out, "--data", texts, "--memory", "2GB", words=["has experts, which a forecast does not"])
    refused("bench", experts, "--eval", texts, words=["is for causal-lm, expected a classifier", "infoprune evaluate"])
