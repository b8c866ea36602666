import os
import shutil
import subprocess
import sys

import pytest
from rows import write_rows
from safetensors.torch import load_file, save_file
from transformers import BertModel, BloomConfig, BloomForCausalLM

from infoprune.jobs import prune as prune_job


def set_weight(folder, name, value):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors[name].fill_(value)
    save_file(tensors, file, metadata={"format": "pt"})


# What is refused


def test_no_such_folder(refused, tmp_path, reviews, out):
    refused("prune", tmp_path / "nowhere", out, "--data", reviews, words=["nowhere", "expected", "check the path"])


@pytest.mark.parametrize(("missing", "word"), [("config.json", "config.json"), ("model.safetensors", "no weights")])
def test_a_folder_that_lacks_a_part_of_the_model(refused, saved_bert, reviews, out, missing, word):
    (saved_bert / missing).unlink()
    for command in ("prune", "finetune"):
        refused(command, saved_bert, out, "--data", reviews, words=[word, saved_bert, "save_pretrained"][:2])


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_config(refused, saved_bert, reviews, out, text):
    (saved_bert / "config.json").write_text(text)
    for command in (
        ("prune", saved_bert, out, "--data"),
        ("finetune", saved_bert, out, "--data"),
        ("evaluate", saved_bert, "--eval"),
    ):
        refused(*command, reviews, words=["config.json", "save the model anew"])


def test_a_folder_without_tokenizer(refused, saved_bert, reviews, out):
    for file in saved_bert.glob("tokenizer*"):
        file.unlink()
    refused("prune", saved_bert, out, "--data", reviews, words=["tokenizer", "save_pretrained"])


def test_an_unsupported_family_lists_what_is_supported(refused, tmp_path, tokenizer, reviews, out):
    folder = tmp_path / "bloom"
    BloomForCausalLM(BloomConfig(n_layer=1, hidden_size=8, n_head=2, vocab_size=100)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    refused("prune", folder, out, "--data", reviews, words=["'bloom'", "not supported", "bert"])


def test_a_model_without_a_classifier(refused, make_tiny_bert, tokenizer, tmp_path, reviews, out):
    base = tmp_path / "base"
    BertModel(make_tiny_bert().config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    words = ["BertModel", "ForSequenceClassification", "finetune"]
    refused("prune", base, out, "--data", reviews, "--task", "classification", words=words)


def test_a_missing_data_file(refused, saved_bert, tmp_path, out):
    refused("prune", saved_bert, out, "--data", tmp_path / "none.csv", words=["none.csv", "no such file"])


def test_an_empty_data_file(refused, saved_bert, tmp_path, out):
    data = tmp_path / "empty.csv"
    data.write_text("")
    refused("prune", saved_bert, out, "--data", data, words=["empty.csv", "no rows"])


def test_a_missing_text_column_names_those_there_are(refused, saved_bert, reviews, out):
    refused("prune", saved_bert, out, "--data", reviews, "--text", "body", words=["'body'", "'text', 'label'"])


def test_data_that_are_not_utf8(refused, saved_bert, tmp_path, out):
    data = tmp_path / "latin.csv"
    data.write_bytes("text\ncaf\xe9\n".encode("latin1"))
    refused("prune", saved_bert, out, "--data", data, words=["latin.csv", "not UTF-8", "iconv"])


def test_labels_that_the_model_does_not_know(refused, saved_bert, reviews, tmp_path, out):
    data = write_rows(tmp_path / "odd.csv", [("good film", "splendid"), ("bad film", "0")])
    words = ["odd.csv", "'splendid'", "LABEL_0", "--label"]
    refused("prune", saved_bert, out, "--data", reviews, "--eval", data, words=words)
    refused("evaluate", saved_bert, "--eval", data, words=words)


def test_evaluation_needs_labels(refused, saved_bert, tmp_path):
    data = tmp_path / "texts.txt"
    data.write_text("good film\n")
    refused("evaluate", saved_bert, "--eval", data, words=["'label'", "--label"])


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("0", ["keep is 0", "above 0 and at most 1"]),
        ("-1", ["keep is -1", "above 0 and at most 1"]),
        ("1.5", ["keep is 1.5", "above 0 and at most 1"]),
        ("nan", ["keep is nan", "above 0 and at most 1"]),
        ("half", ["--keep is 'half'", "--keep 0.5"]),
        ("0.1", ["leaves no head of 4", "0.125"]),
    ],
)
def test_a_share_that_cannot_be_kept(refused, saved_bert, reviews, out, keep, words):
    refused("prune", saved_bert, out, "--data", reviews, "--keep", keep, words=words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "flops=0.01"], ["flops=0.01 cannot be met", "or more"]),
        (["--budget", "bytes=1kB"], ["bytes=1000 cannot be met", "or --budget bytes="]),
        (["--budget", "energy=0.5"], ["'energy'", "flops, params, bytes, latency"]),
        (["--budget", "flops=half"], ["'flops=half'", "flops=0.5"]),
        (["--budget", "flops=0.5", "--keep", "0.5"], ["more than one", "leave one out"]),
        (["--budget", "flops=0.5", "--allocation", "fair"], ["'fair'", "nats, uniform"]),
        (
            ["--budget", "flops=0.5", "--allocation", "nats", "--criterion", "magnitude"],
            ["'magnitude'", "--allocation uniform"],
        ),
        (["--allocation", "nats", "--max-kl", "1"], ["--allocation", "--budget flops=0.5"]),
        (["--depth", "--keep", "0.5"], ["--depth", "--budget flops=0.5"]),
        (["--max-kl", "0.05"], ["--eval FILE"]),
        (["--max-kl", "little"], ["--max-kl is 'little'"]),
        (["--max-kl", "0.05", "--max-loss", "accuracy=1"], ["leave one out"]),
        (["--max-kl", "0.05", "--budget", "flops=0.5"], ["more than one", "--budget, --max-kl"]),
        (["--max-loss", "accuracy"], ["--max-loss", "accuracy=0.5"]),
        (["--max-loss", "speed=1"], ["'speed'", "accuracy"]),
    ],
)
def test_budgets_and_losses_that_make_no_sense(refused, saved_bert, reviews, out, options, words):
    refused("prune", saved_bert, out, "--data", reviews, *options, words=words)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--structures", "neurons", ["neurons", "heads, ffn"]),
        ("--structures", ",", ["none", "heads, ffn"]),
        ("--criterion", "luck", ["'luck'", "information"]),
        ("--rounds", "0", ["rounds is 0"]),
        ("--shape", "round", ["--shape is 'round'", "uniform"]),
        ("--samples", "0", ["--samples is 0"]),
        ("--batch-size", "0", ["--batch-size is 0"]),
        ("--max-length", "-3", ["--max-length is -3"]),
        ("--max-length", "65", ["65", "64 positions"]),
        ("--device", "abacus", ["'abacus'", "cpu"]),
        ("--device", "cpu:7", ["'cpu:7'", "cpu"]),
        ("--seed", "many", ["--seed"]),
    ],
)
def test_options_out_of_range(refused, saved_bert, reviews, out, option, value, words):
    refused("prune", saved_bert, out, "--data", reviews, option, value, words=words)


@pytest.mark.parametrize(("option", "value"), [("--epochs", "0"), ("--learning-rate", "nan")])
def test_training_options_out_of_range(refused, saved_bert, reviews, out, option, value):
    refused("finetune", saved_bert, out, "--data", reviews, option, value, words=[option, value])


def test_unknown_commands_and_missing_options(refused, saved_bert, out):
    refused("shrink", words=["'shrink'", "--help"])
    refused("prune", saved_bert, out, words=["--data"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(refused, saved_bert, reviews, out, value):
    name = "bert.encoder.layer.1.output.dense.weight"
    set_weight(saved_bert, name, value)
    refused("prune", saved_bert, out, "--data", reviews, words=[name, "NaN or infinite", "check the checkpoint"])


def test_activations_that_are_not_finite(refused, saved_bert, reviews, out):
    for part in ("intermediate", "output"):
        set_weight(saved_bert, f"bert.encoder.layer.0.{part}.dense.weight", 1e30)
    refused("prune", saved_bert, out, "--data", reviews, words=["not finite", "float32"])


def test_a_full_folder_is_left_alone_unless_forced(run, saved_bert, reviews, out):
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for command in ("prune", "finetune"):
        status, _, err = run(command, saved_bert, out, "--data", reviews)
        assert status == 2
        assert "exists and is not empty" in err
        assert "--force" in err
        assert len(err.splitlines()) == 1
        assert [file.name for file in out.iterdir()] == ["notes.txt"]
    assert run("prune", saved_bert, out, "--data", reviews, "--force")[0] == 0
    assert (out / "plan.json").is_file()
    assert not (out / "notes.txt").exists()


def test_force_never_replaces_an_input(run, saved_bert, reviews):
    for place in (saved_bert, saved_bert.parent):
        status, _, err = run("prune", saved_bert, place, "--data", reviews, "--force")
        assert status == 2
        assert "contains the input" in err
    assert (saved_bert / "model.safetensors").is_file()
    assert reviews.is_file()


def test_no_report_and_a_damaged_report(refused, run, small, tmp_path):
    for text, word in (("{}", "version 1"), ('{"version": 1}', "damaged")):
        (small / "report.json").write_text(text)
        status, _, err = run("report", small)
        assert status == 2
        assert word in err
    shutil.rmtree(small)
    refused("report", tmp_path, words=["report.json", "infoprune prune"])


# What goes wrong


def test_other_errors_end_with_1_and_leave_nothing(run, monkeypatch, saved_bert, reviews, out):
    def broken(*arguments, **options):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(prune_job, "write_model", broken)
    status, _, err = run("prune", saved_bert, out, "--data", reviews)
    assert status == 1
    assert err == "error: RuntimeError: out of memory (set INFOPRUNE_DEBUG=1 for the traceback)\n"
    assert sorted(out.parent.iterdir()) == sorted([saved_bert, reviews])
    monkeypatch.setenv("INFOPRUNE_DEBUG", "1")
    assert "Traceback" in run("prune", saved_bert, out, "--data", reviews)[2]


def test_ctrl_c_is_one_line_and_leaves_nothing(run, monkeypatch, saved_bert, reviews, out):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(prune_job, "write_model", interrupted)
    status, _, err = run("prune", saved_bert, out, "--data", reviews)
    assert status == 1
    assert err == "error: interrupted; no incomplete result is left\n"
    assert sorted(out.parent.iterdir()) == sorted([saved_bert, reviews])


def test_the_installed_program_keeps_its_exit_codes(saved_bert, reviews, out):
    program = [sys.executable, "-c", "import sys; from infoprune.cli import main; sys.exit(main())"]
    arguments = ["prune", str(saved_bert), str(out), "--data", str(reviews)]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, env={**os.environ}, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    again = subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=300)
    assert again.returncode == 2
    assert len(again.stderr.splitlines()) == 1
