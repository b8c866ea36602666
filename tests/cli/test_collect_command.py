"""`infoprune collect`, and prune with what it has written or in two processes."""

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

import infoprune


def plan_in(folder):
    return json.loads((folder / "plan.json").read_text())["kept"]


@pytest.fixture
def collected(run, saved_bert, reviews, tmp_path):
    folder = tmp_path / "statistics"
    status, printed, err = run("collect", saved_bert, folder, "--data", reviews)
    assert (status, err) == (0, "")
    assert "4 sites, 72 inputs, " in printed
    return folder


def test_prune_with_statistics_is_prune(run, saved_bert, reviews, collected, tmp_path):
    status, printed, err = run("prune", saved_bert, tmp_path / "a", "--data", reviews, "--keep", "0.25")
    assert (status, err) == (0, "")
    given = ("--statistics", collected)
    status, printed, err = run("prune", saved_bert, tmp_path / "b", "--data", reviews, "--keep", "0.25", *given)
    assert (status, err) == (0, "")
    assert "chosen on 72 texts" in printed
    assert plan_in(tmp_path / "a") == plan_in(tmp_path / "b")
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(assert_close(a[name], b[name]) is None for name in a)
    assert json.loads((tmp_path / "b" / "report.json").read_text())["seconds"]["collect"] < 0.5


def test_statistics_of_parts_choose_like_those_of_all(run, saved_bert, reviews, collected, tmp_path):
    header, *rows = reviews.read_text().splitlines()
    folders = []
    for index in range(2):
        (tmp_path / f"{index}.csv").write_text("\n".join([header, *rows[index::2]]))
        folders += ["--statistics", tmp_path / f"s{index}"]
        assert run("collect", saved_bert, folders[-1], "--data", tmp_path / f"{index}.csv", "--batch-size", 5)[0] == 0
    for name, given in (("one", ["--statistics", collected]), ("two", folders)):
        status, printed, _ = run(
            "prune", saved_bert, tmp_path / name, "--data", reviews, "--samples", 20, "--plan-only", *given
        )
        assert status == 0
        assert "chosen on 72 texts" in printed
    assert plan_in(tmp_path / "one") == plan_in(tmp_path / "two")


def test_enough_memory_collects_the_same(run, saved_bert, reviews, collected, tmp_path):
    again = tmp_path / "again"
    assert run("collect", saved_bert, again, "--data", reviews, "--memory", "9GB", "--batch-size", 32)[0] == 0
    for file in collected.glob("*.safetensors"):
        assert_close(load_file(again / file.name), load_file(file))
    status, _, err = run("prune", saved_bert, tmp_path / "small", "--data", reviews, "--memory", "9GB")
    assert (status, err) == (0, "")
    status, _, err = run("prune", saved_bert, tmp_path / "other", "--data", reviews, "--memory", "9MB")
    assert status == 2
    assert "--memory allows 9" in err


def test_refusals(refused, run, saved_bert, reviews, out, collected):
    base = ("--data", reviews)
    refused("collect", saved_bert, out, *base, "--memory", "lots", words=["'lots' is no amount of memory", "2GB"])
    refused(
        "collect",
        saved_bert,
        out,
        *base,
        "--memory",
        "1kB",
        words=["graph and the statistics", "--memory", "allow"],
    )
    refused("collect", saved_bert, out, *base, "--structures", "wings", words=["wings", "ffn"])
    refused("collect", saved_bert, out, *base, "--samples", "0", words=["--samples is 0"])
    refused("prune", saved_bert, out, *base, "--statistics", reviews.parent, words=["no statistics.json"])
    given = ("--statistics", collected)
    refused("prune", saved_bert, out, *base, *given, "--criterion", "fan2021", words=["--statistics were given"])
    refused("prune", saved_bert, out, *base, *given, *given, "--structures", "wings", words=["wings"])
    status, _, err = run("collect", saved_bert, collected, *base)
    assert status == 2
    assert "not empty" in err
    status, _, err = run("prune", saved_bert, collected, *base, *given, "--force")
    assert status == 2
    assert "contains the input" in err


def test_two_processes_write_what_one_does(run, saved_bert, reviews, tmp_path):
    options = ["--data", reviews, "--batch-size", 8, "--eval", reviews]
    assert run("prune", saved_bert, tmp_path / "one", *options)[0] == 0
    source = os.path.dirname(os.path.dirname(infoprune.__file__))
    there = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "infoprune", "prune", saved_bert, tmp_path / "two", *options]
    done = subprocess.run([str(part) for part in command], env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("chosen on 72 texts") == 1
    assert done.stdout.count("Written to") == 1
    assert plan_in(tmp_path / "one") == plan_in(tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(assert_close(one[name], two[name], rtol=1e-3, atol=1e-4) is None for name in one)
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    assert reports[0]["samples"] == reports[1]["samples"] == 72
    assert reports[0]["agreement"] == reports[1]["agreement"]
