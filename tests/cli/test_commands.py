import json
import re
from dataclasses import replace

import pytest
import torch
from rows import NEGATIVE, POSITIVE, write_rows
from transformers import AutoModelForSequenceClassification, BertModel

import infoprune
from infoprune.budgets.costs import find_costs
from infoprune.checkpoint import load, save
from infoprune.jobs.reload import check_reload
from infoprune.measuring.measure import Latency
from infoprune.repairing import neurons

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
        "report.html",
        "README.md",
        "sizes.png",
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


@pytest.mark.parametrize(("taken", "said"), [(0.5, False), (0.54, False), (0.56, True), (0.44, True)])
def test_a_budget_of_latency_that_was_missed_is_owned_up_to(monkeypatch, run, saved_bert, reviews, out, taken, said):
    def table(model, quantity, batches, **how):
        return replace(find_costs(model, "flops", batches, **how), quantity=quantity)

    def timed(report, *_):
        dense, pruned = (Latency(each, each, each) for each in (10.0, 10.0 * taken))
        return replace(
            report, dense=replace(report.dense, latency_ms=dense), pruned=replace(report.pruned, latency_ms=pruned)
        )

    monkeypatch.setattr("infoprune.pipeline.size_schedule.find_costs", table)
    monkeypatch.setattr("infoprune.jobs.prune.timed", timed)
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--budget", "latency=0.5", "--no-repair")
    assert status == 0, err
    assert (f"the budget is latency=0.5, but {taken:.2f} was measured" in err) == said


@pytest.mark.parametrize("allocation", [[], ["--allocation", "uniform"]], ids=["nats", "uniform"])
@pytest.mark.parametrize(("quantity", "amount"), [("flops", "0.6"), ("params", "20k"), ("bytes", "80kB")])
def test_prune_to_a_budget(run, saved_bert, reviews, out, quantity, amount, allocation):
    budget = ["--budget", f"{quantity}={amount}", *allocation]
    status, printed, err = run("prune", saved_bert, out, "--data", reviews, *budget)
    assert err == ""
    assert status == 0
    assert "what the budget allows" in printed.splitlines()[0]
    report = json.loads((out / "report.json").read_text())
    assert report["pruned"]["flops"] < report["dense"]["flops"]
    limits = {"flops": 0.6 * report["dense"]["flops"], "params": 20_000, "bytes": 80_000}
    assert report["pruned"][{"params": "parameters"}.get(quantity, quantity)] <= limits[quantity]
    assert infoprune.load(out).num_parameters() == report["pruned"]["parameters"]
    assert (out / "sizes.png").is_file()


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_a_uniform_shape_is_opened_by_plain_transformers(run, saved_bert, reviews, out):
    status, printed, err = run(
        "prune", saved_bert, out, "--data", reviews, "--shape", "uniform", "--eval", reviews, "--keep", "0.5"
    )
    assert err == ""
    assert status == 0
    assert "4 of 8 heads, 64 of 128 neurons, 16 of 32 hidden neurons, 16 of 32 coordinates" in printed.splitlines()[0]
    assert "plain transformers" in printed.splitlines()[1], "what opens the result is said before the work begins"
    report = json.loads((out / "report.json").read_text())
    assert report["loads_in"] == "transformers"
    assert report["kept"]["hidden-size"] == [16, 32]
    plain = AutoModelForSequenceClassification.from_pretrained(out)
    assert (plain.config.hidden_size, plain.config.num_attention_heads, plain.config.intermediate_size) == (16, 2, 32)


def test_a_saved_folder_that_answers_otherwise_is_no_result(make_tiny_bert, tmp_path):
    model, other = make_tiny_bert(seed=0), make_tiny_bert(seed=1)
    save(model, tmp_path / "out")
    batch = {"input_ids": torch.tensor([[2, 7, 9]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    check_reload(tmp_path / "out", model, batch)
    with pytest.raises(RuntimeError, match="other outputs in plain transformers than in infoprune"):
        check_reload(tmp_path / "out", other, batch)
    (tmp_path / "out" / "model.safetensors").unlink()
    with pytest.raises(RuntimeError, match="plain transformers cannot load"):
        check_reload(tmp_path / "out", model, batch)


@pytest.mark.parametrize("loss", [["--max-kl", "0.001"], ["--max-loss", "kl=0.001"], ["--max-loss", "accuracy=20"]])
def test_prune_as_far_as_a_loss_allows(run, saved_bert, reviews, out, loss):
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--eval", reviews, *loss)
    assert err == ""
    assert status == 0
    report = json.loads((out / "report.json").read_text())
    assert report["pruned"]["flops"] < report["dense"]["flops"]
    if loss[1].startswith("accuracy"):
        assert report["pruned"]["metrics"]["accuracy"] >= report["dense"]["metrics"]["accuracy"] - 0.2
    else:
        assert report["kl"] <= 0.001


def test_report_evaluate_and_finetune_take_the_pruned_folder(run, small, reviews, tmp_path):
    status, printed, err = run("report", small)
    assert err == ""
    assert status == 0
    assert "parameters" in printed
    assert "32 of 64" in printed

    status, printed, err = run("evaluate", small, "--eval", reviews, "--json")
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
    status, printed, err = run("evaluate", saved_bert, "--eval", reviews)
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


def test_every_layer_has_a_width_of_its_own(run, saved_bert, reviews, out):
    options = ("--structures", "ffn,heads,hidden-size-per-layer", "--budget", "flops=0.5")
    status, printed, err = run("prune", saved_bert, out, "--data", reviews, "--eval", reviews, *options)
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    hidden_sizes = [kept for name, (kept, _) in report["kept"].items() if name.endswith(".hidden-size")]
    assert len(hidden_sizes) == 2
    assert hidden_sizes == sorted(hidden_sizes, reverse=True)
    assert report["loads_in"] == "infoprune"
    assert report["pruned"]["flops"] <= report["dense"]["flops"] / 2
    assert "coordinates" in printed


def test_plan_only_writes_the_plan_of_a_full_run_and_nothing_else(run, saved_bert, reviews, small, tmp_path):
    folder = tmp_path / "plan"
    status, printed, err = run("prune", saved_bert, folder, "--data", reviews, "--plan-only", "--keep", "0.5")
    assert err == ""
    assert status == 0
    assert [file.name for file in folder.iterdir()] == ["plan.json"]
    assert (folder / "plan.json").read_bytes() == (small / "plan.json").read_bytes()
    assert "32 of 64" in printed


def test_neurons_alone_leave_a_model_that_plain_transformers_loads(run, saved_bert, reviews, out):
    status, printed, _ = run(
        "prune", saved_bert, out, "--data", reviews, "--structures", "ffn", "--criterion", "magnitude", "--keep", "0.5"
    )
    assert status == 0
    assert "loads in plain transformers" in printed.splitlines()[1]
    own = infoprune.load(out)
    theirs = AutoModelForSequenceClassification.from_pretrained(out)
    for name, parameter in own.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(name))


def test_the_papers_selection_by_name(run, saved_bert, reviews, out):
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--criterion", "fan2021", "--no-repair")
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    assert (report["criterion"], report["nats_lost"]) == ("fan2021", None)


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
    assert re.search(r"bert\b.*\bhidden-size-per-layer\b.*after import", printed)
    assert re.search(r"bert\b.*\bffn\b.*transformers", printed)
    assert run("--version") == (0, f"infoprune {infoprune.__version__}\n", "")


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


def test_depth_and_allocation_apply_to_the_default_budget(run, saved_bert, reviews, tmp_path):
    for name, options in (("given", ("--budget", "flops=0.5")), ("default", ())):
        folder = tmp_path / name
        command = ("prune", saved_bert, folder, "--data", reviews, "--plan-only", "--depth", "--allocation", "uniform")
        assert run(*command, *options)[0] == 0
    assert (tmp_path / "given" / "plan.json").read_text() == (tmp_path / "default" / "plan.json").read_text()


def test_the_effort_decides_on_neurons(monkeypatch, run, saved_bert, reviews, tmp_path):
    """A quick repair does not re-fit neurons, a thorough one does, and a normal one where tokens are enough."""
    monkeypatch.setattr(neurons, "PER_INPUT", 10**6)
    found = {}
    for effort in ("quick", "normal", "thorough"):
        out = tmp_path / effort
        status, _, err = run("prune", saved_bert, out, "--data", reviews, "--keep", "0.5", "--effort", effort)
        assert status == 0, err
        found[effort] = load(out).state_dict()
    same = {
        one: all(torch.equal(tensor, found["quick"][path]) for path, tensor in found[one].items())
        for one in ("normal", "thorough")
    }
    assert same == {"normal": True, "thorough": False}
