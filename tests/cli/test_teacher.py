"""Distillation from the command line: prune --distill and finetune --teacher."""

import json

import pytest
import torch
from rows import write_rows

import infoprune
from infoprune.jobs import distill as distill_job
from infoprune.jobs import prune as prune_job

ROUGH = ("--keep", "0.25", "--criterion", "random", "--no-repair")


@pytest.fixture
def texts(reviews, tmp_path):
    """The same texts without labels."""
    lines = reviews.read_text(encoding="utf-8").splitlines()[1:]
    return write_rows(tmp_path / "texts.csv", [(line.rpartition(",")[0],) for line in lines], columns=("text",))


@pytest.fixture
def dense(run, saved_bert, reviews, tmp_path):
    """The folder of a model that knows something."""
    folder = tmp_path / "dense"
    arguments = ("--epochs", "5", "--learning-rate", "3e-3", "--batch-size", "8")
    assert run("finetune", saved_bert, folder, "--data", reviews, *arguments)[0] == 0
    return folder


@pytest.fixture
def small(run, dense, texts, tmp_path):
    """The folder of a pruned model that has much to learn."""
    folder = tmp_path / "small"
    assert run("prune", dense, folder, "--data", texts, *ROUGH)[0] == 0
    return folder


def weights(folder):
    return infoprune.load(folder).state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


def test_prune_and_distill_on_texts_without_labels(run, dense, texts, reviews, out):
    arguments = ("prune", dense, out, "--data", texts, "--eval", reviews, "--batch-size", "8", *ROUGH)
    assert run(*arguments)[0] == 0
    plain, plan = json.loads((out / "report.json").read_text()), (out / "plan.json").read_text()
    status, printed, err = run(*arguments, "--distill", "12", "--force")
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert 0 == plain["seconds"]["distill"] < report["seconds"]["distill"] < report["seconds"]["total"]
    assert report["kl"] < plain["kl"]
    assert report["kept"] == plain["kept"]
    assert (out / "plan.json").read_text() == plan
    assert "distill" in printed
    assert not list(out.parent.glob("*unfinished*")), "checkpoints are removed"


def test_the_plan_alone_needs_no_training(run, dense, texts, out):
    assert run("prune", dense, out, "--data", texts, "--distill", "1000000", "--plan-only")[0] == 0
    assert [path.name for path in out.iterdir()] == ["plan.json"]


def test_finetune_with_a_teacher(run, small, dense, texts, reviews, tmp_path):
    better = tmp_path / "better"
    arguments = ("finetune", small, better, "--data", texts, "--eval", reviews, "--teacher", dense)
    status, printed, err = run(*arguments, "--epochs", "6", "--batch-size", "8")
    assert (status, err) == (0, "")
    for word in ("distillation", "kl before", "kl", "accuracy", "seconds", str(better)):
        assert word in printed
    assert (better / "plan.json").read_text() == (small / "plan.json").read_text(), "it stays the same small model"
    assert not same(weights(better), weights(small))
    assert run("evaluate", better, "--eval", reviews)[0] == 0


@pytest.mark.parametrize("command", ["prune", "finetune"])
def test_a_run_that_was_interrupted_goes_on(run, monkeypatch, small, dense, texts, tmp_path, command):
    def call(out, *more):
        if command == "prune":
            return run("prune", dense, out, "--data", texts, "--batch-size", "8", "--distill", "2", *more)
        return run("finetune", small, out, "--data", texts, "--batch-size", "8", "--teacher", dense, *more)

    whole, again = tmp_path / "whole", tmp_path / "again"
    assert call(whole)[0] == 0

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for module, name in ((prune_job, "write_model"), (distill_job, "write_model")):
            patch.setattr(module, name, interrupted)
        status, _, err = call(again)
    assert status == 1
    assert err.splitlines()[-1] == "error: interrupted; no incomplete result is left"
    assert not again.exists()
    unfinished = tmp_path / "again.unfinished"
    assert unfinished.is_dir()
    assert call(again)[0] == 0
    assert same(weights(again), weights(whole))
    assert not unfinished.exists()


def test_teachers_that_cannot_teach(refused, make_tiny_bert, tokenizer, saved_bert, texts, out, tmp_path):
    other = tmp_path / "other"
    make_tiny_bert(num_labels=3).save_pretrained(other)
    tokenizer.save_pretrained(other)
    command = ("finetune", saved_bert, out, "--data", texts, "--teacher")
    refused(*command, other, words=["3 outputs", "the model that the student was pruned from"])
    refused(*command, tmp_path / "nowhere", words=["no folder", "nowhere"])
    refused("finetune", saved_bert, out, "--data", texts, words=["label"])


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_epochs_out_of_range(refused, saved_bert, texts, out, value):
    refused("prune", saved_bert, out, "--data", texts, "--distill", value, words=["--distill", value, "above 0"])
    refused("finetune", saved_bert, out, "--data", texts, "--epochs", value, words=["--epochs", value, "above 0"])
