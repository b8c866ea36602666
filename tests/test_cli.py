import csv
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertModel, GPT2Config, GPT2LMHeadModel

import infoprune
from infoprune.cli import main
from infoprune.jobs import prune as prune_job

POSITIVE = ("good", "great", "fine")
NEGATIVE = ("bad", "poor", "dull")

REPORT_KEYS = {
    "version",
    "family",
    "task",
    "criterion",
    "seed",
    "samples",
    "kept",
    "loads_in",
    "dense",
    "pruned",
    "agreement",
    "kl",
    "nats_lost",
    "seconds",
}
MEASURED_KEYS = {"parameters", "flops", "bytes", "latency_ms", "metrics"}


def write_rows(path, rows, columns=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


@pytest.fixture
def reviews(tmp_path):
    rows = [
        (f"the {noun} is {first} and very {second}", int(first in POSITIVE))
        for noun in ("film", "plot")
        for first in (*POSITIVE, *NEGATIVE)
        for second in (*POSITIVE, *NEGATIVE)
    ]
    return write_rows(tmp_path / "reviews.csv", rows)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def refused(run, out):
    """Run a command that must refuse its input; its one line on stderr."""

    def call(*arguments, words):
        before = sorted(out.parent.iterdir())
        status, _, err = run(*arguments)
        assert status == 2, err
        assert err.startswith("error: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        for word in words:
            assert str(word) in err
        assert sorted(out.parent.iterdir()) == before, "nothing may be written"
        assert not out.exists()
        return err

    return call


def set_weight(folder, name, value):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors[name].fill_(value)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture
def small(run, saved_bert, reviews, out):
    """The folder of a pruned model."""
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--eval", reviews)
    assert err == ""
    assert status == 0
    return out


# What works


def test_prune_writes_everything_that_a_model_needs(run, saved_bert, reviews, out):
    status, printed, err = run("prune", saved_bert, out, "--data", reviews, "--eval", reviews, "--keep", "0.5")
    assert err == ""
    assert status == 0
    assert {file.name for file in out.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "plan.json",
        "report.json",
        "report.md",
    }
    report = json.loads((out / "report.json").read_text())
    assert report.keys() >= REPORT_KEYS
    assert report["dense"].keys() >= MEASURED_KEYS
    assert report["pruned"].keys() >= MEASURED_KEYS
    assert report["dense"]["latency_ms"].keys() == {"median", "low", "high"}
    assert report["seconds"].keys() >= {"collect", "rank", "repair", "distill", "total"}
    assert report["kept"] == {
        "layers.0.heads": [2, 4],
        "layers.0.ffn": [32, 64],
        "layers.1.heads": [2, 4],
        "layers.1.ffn": [32, 64],
    }
    assert (report["loads_in"], report["samples"], report["criterion"]) == ("infoprune", 72, "information")
    assert report["pruned"]["parameters"] < report["dense"]["parameters"]
    assert 0 <= report["agreement"] <= 1
    assert report["kl"] >= 0
    first, second = printed.splitlines()[:2]
    assert "4 of 8 heads, 64 of 128 neurons" in first
    assert "infoprune.load" in second, "what opens the result is said before the work begins"
    for word in ("parameters", "FLOPs", "latency", "accuracy", "agreement", "KL (nats)", "layers.1", str(out)):
        assert word in printed
    assert sorted(out.parent.iterdir()) == sorted([saved_bert, reviews, out]), "no draft is left behind"


def test_report_evaluate_and_finetune_take_the_pruned_folder(run, small, reviews, tmp_path):
    status, printed, err = run("report", small)
    assert err == ""
    assert status == 0
    assert "parameters" in printed
    assert "32 of 64" in printed

    status, printed, err = run("evaluate", small, "--data", reviews, "--json")
    assert err == ""
    assert status == 0
    scores = json.loads(printed)
    report = json.loads((small / "report.json").read_text())
    assert scores["metrics"] == report["pruned"]["metrics"]
    assert scores["parameters"] == report["pruned"]["parameters"]
    assert scores["inputs"] == 72

    tuned = tmp_path / "tuned"
    status, printed, err = run("finetune", small, tuned, "--data", reviews, "--eval", reviews, "--epochs", "1")
    assert err == ""
    assert status == 0
    assert "train loss" in printed
    assert (tuned / "plan.json").read_text() == (small / "plan.json").read_text(), "it stays the same small model"
    assert infoprune.load(tuned).num_parameters() == report["pruned"]["parameters"]


def test_evaluate_prints_a_table(run, saved_bert, reviews):
    status, printed, err = run("evaluate", saved_bert, "--data", reviews)
    assert err == ""
    assert status == 0
    assert "accuracy" in printed
    assert "72 texts" in printed


def test_finetune_gives_a_base_model_a_head(run, make_tiny_bert, tokenizer, tmp_path, out):
    base = tmp_path / "base"
    BertModel(make_tiny_bert().config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    rows = [(f"{word} film", "pos" if word in POSITIVE else "neg") for word in (*POSITIVE, *NEGATIVE)]
    data = write_rows(tmp_path / "named.csv", rows)
    status, _, err = run("finetune", base, out, "--data", data, "--epochs", "1")
    assert err == ""
    assert status == 0
    assert AutoModelForSequenceClassification.from_pretrained(out).config.id2label == {0: "neg", 1: "pos"}


def test_finetune_keeps_the_numbering_of_a_head_that_knows_the_labels(run, make_tiny_bert, tokenizer, tmp_path, out):
    folder = tmp_path / "named"
    make_tiny_bert(id2label={0: "pos", 1: "neg"}, label2id={"pos": 0, "neg": 1}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    data = write_rows(tmp_path / "named.csv", [("good film", "pos"), ("bad film", "neg")])
    assert run("finetune", folder, out, "--data", data, "--epochs", "1")[0] == 0
    assert AutoModelForSequenceClassification.from_pretrained(out).config.id2label == {0: "pos", 1: "neg"}


def test_the_same_seed_gives_the_same_plan(run, saved_bert, reviews, tmp_path):
    plans = []
    for name, seed in (("a", 3), ("b", 3)):
        folder = tmp_path / name
        assert run("prune", saved_bert, folder, "--data", reviews, "--samples", "40", "--seed", seed)[0] == 0
        plans.append((folder / "plan.json").read_bytes())
    assert plans[0] == plans[1]


def test_plan_only_writes_the_plan_of_a_full_run_and_nothing_else(run, saved_bert, reviews, small, tmp_path):
    folder = tmp_path / "plan"
    status, printed, err = run("prune", saved_bert, folder, "--data", reviews, "--plan-only")
    assert err == ""
    assert status == 0
    assert [file.name for file in folder.iterdir()] == ["plan.json"]
    assert (folder / "plan.json").read_bytes() == (small / "plan.json").read_bytes()
    assert "32 of 64" in printed


def test_neurons_alone_leave_a_model_that_plain_transformers_loads(run, saved_bert, reviews, out):
    status, printed, _ = run("prune", saved_bert, out, "--data", reviews, "--sites", "ffn", "--criterion", "magnitude")
    assert status == 0
    assert "loads in plain transformers" in printed.splitlines()[1]
    own = infoprune.load(out)
    theirs = AutoModelForSequenceClassification.from_pretrained(out)
    for name, parameter in own.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(name))


def test_evaluation_without_labels_still_compares_the_two_models(run, saved_bert, tmp_path, out):
    data = tmp_path / "texts.txt"
    data.write_text("good film\nbad plot\nthe film is fine\n")
    status, printed, _ = run("prune", saved_bert, out, "--data", data, "--eval", data, "--rounds", "1", "--no-repair")
    assert status == 0
    report = json.loads((out / "report.json").read_text())
    assert report["pruned"]["metrics"] == {}
    assert report["agreement"] is not None
    assert "agreement" in printed


def test_a_pruned_folder_can_be_pruned_again(run, small, reviews, tmp_path):
    again = tmp_path / "again"
    assert run("prune", small, again, "--data", reviews)[0] == 0
    assert infoprune.load(again).num_parameters() < infoprune.load(small).num_parameters()


def test_families_and_version(run):
    status, printed, _ = run("families")
    assert status == 0
    assert re.search(r"bert\W+heads\W+infoprune only", printed)
    assert re.search(r"bert\W+ffn\W+transformers", printed)
    assert run("--version") == (0, f"infoprune {infoprune.__version__}\n", "")


@pytest.mark.parametrize("command", [(), ("prune",), ("evaluate",), ("finetune",), ("report",), ("families",)])
def test_help_teaches_by_example(run, command):
    status, printed, err = run(*command, "--help")
    assert err == ""
    assert status == 0
    assert "Example: infoprune" in printed


def test_help_imports_nothing_heavy():
    code = (
        "import sys, infoprune.cli\n"
        "assert infoprune.cli.main(['prune', '--help']) == 0\n"
        "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_public_names_are_never_hidden_by_modules_of_the_same_name():
    code = (
        "import infoprune.collect, infoprune.compress, infoprune\n"
        "for name in infoprune.__all__: assert not isinstance(getattr(infoprune, name), type(infoprune.errors)), name\n"
        "assert callable(infoprune.collect) and callable(infoprune.evaluate)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)


# What warns


def test_fewer_tokens_than_inputs_is_a_warning_with_the_number(run, saved_bert, tmp_path, out):
    data = write_rows(tmp_path / "few.csv", [("good film", 1), ("bad film", 0)])
    status, _, err = run("prune", saved_bert, out, "--data", data)
    assert status == 0
    assert len(err.splitlines()) == 1
    assert err.startswith("warning: 8 calibration tokens for")
    assert "64 inputs" in err
    assert all(torch.isfinite(parameter).all() for parameter in infoprune.load(out).parameters())


def test_labels_that_are_not_used_are_a_warning(run, saved_bert, reviews, out):
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--label", "label")
    assert status == 0
    assert err.startswith("warning: label column 'label' is not read")
    assert len(err.splitlines()) == 1


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
    for command in (("prune", saved_bert, out), ("finetune", saved_bert, out), ("evaluate", saved_bert)):
        refused(*command, "--data", reviews, words=["config.json", "save the model anew"])


def test_a_folder_without_tokenizer(refused, saved_bert, reviews, out):
    for file in saved_bert.glob("tokenizer*"):
        file.unlink()
    refused("prune", saved_bert, out, "--data", reviews, words=["tokenizer", "save_pretrained"])


def test_an_unsupported_family_lists_what_is_supported(refused, tmp_path, tokenizer, reviews, out):
    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=100)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    refused("prune", folder, out, "--data", reviews, words=["'gpt2'", "not supported", "bert"])


def test_a_model_without_a_classifier(refused, make_tiny_bert, tokenizer, tmp_path, reviews, out):
    base = tmp_path / "base"
    BertModel(make_tiny_bert().config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    refused("prune", base, out, "--data", reviews, words=["BertModel", "ForSequenceClassification", "finetune"])


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
    refused("evaluate", saved_bert, "--data", data, words=words)


def test_evaluation_needs_labels(refused, saved_bert, tmp_path):
    data = tmp_path / "texts.txt"
    data.write_text("good film\n")
    refused("evaluate", saved_bert, "--data", data, words=["'label'", "--label"])


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
    ("option", "value", "words"),
    [
        ("--sites", "neurons", ["neurons", "heads, ffn"]),
        ("--sites", ",", ["none", "heads, ffn"]),
        ("--criterion", "luck", ["'luck'", "information"]),
        ("--rounds", "0", ["rounds is 0"]),
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
    for kind in ("intermediate", "output"):
        set_weight(saved_bert, f"bert.encoder.layer.0.{kind}.dense.weight", 1e30)
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
        assert "holds the input" in err
    assert (saved_bert / "model.safetensors").is_file()
    assert reviews.is_file()


def test_no_report_and_a_damaged_report(refused, run, small, tmp_path):
    (small / "report.json").write_text("{}")
    status, _, err = run("report", small)
    assert status == 2
    assert "damaged" in err
    shutil.rmtree(small)
    refused("report", tmp_path, words=["report.json", "infoprune prune"])


# What goes wrong


def test_other_errors_end_with_1_and_leave_nothing(run, monkeypatch, saved_bert, reviews, out):
    def broken(*arguments, **options):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(prune_job, "write_model", broken)
    status, _, err = run("prune", saved_bert, out, "--data", reviews)
    assert status == 1
    assert err == "error: RuntimeError: out of memory (set INFOPRUNE_DEBUG=1 to see where)\n"
    assert sorted(out.parent.iterdir()) == sorted([saved_bert, reviews])
    monkeypatch.setenv("INFOPRUNE_DEBUG", "1")
    assert "Traceback" in run("prune", saved_bert, out, "--data", reviews)[2]


def test_ctrl_c_is_one_line_and_leaves_nothing(run, monkeypatch, saved_bert, reviews, out):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(prune_job, "write_model", interrupted)
    status, _, err = run("prune", saved_bert, out, "--data", reviews)
    assert status == 1
    assert err == "error: interrupted; nothing was written\n"
    assert sorted(out.parent.iterdir()) == sorted([saved_bert, reviews])


def test_the_installed_program_keeps_its_exit_codes(saved_bert, reviews, out):
    program = [sys.executable, "-c", "import sys; from infoprune.cli import main; sys.exit(main())"]
    arguments = ["prune", str(saved_bert), str(out), "--data", str(reviews)]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, env={**os.environ}, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    again = subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=300)
    assert again.returncode == 2
    assert len(again.stderr.splitlines()) == 1
