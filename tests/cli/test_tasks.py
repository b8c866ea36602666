"""Every task from the command line: prune, evaluate, distill."""

import json
import shutil

import pytest
import torch
from rows import POSITIVE, TEXTS, write_rows
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertModel,
)

import infoprune
from infoprune.tasks.compare import OVERLAP

ROUGH = ("--keep", "0.35", "--criterion", "random", "--no-repair")
METRICS = {
    "embedding": {OVERLAP},
    "causal-lm": {"loss", "perplexity"},
    "masked-lm": {"loss", "accuracy"},
    "token-classification": {"accuracy", "macro_f1"},
    "question-answering": set(),
    "seq2seq": {"loss", "perplexity"},
}


@pytest.fixture
def data(tmp_path, texts):
    """What a score of the task needs, as options."""

    def write(task):
        if task == "token-classification":
            rows = [{"words": text.split(), "tags": [int(word in POSITIVE) for word in text.split()]} for text in TEXTS]
            file = tmp_path / "words.jsonl"
            file.write_text("\n".join(map(json.dumps, rows)))
            return ("--data", file, "--text", "words", "--label", "tags")
        if task in ("question-answering", "seq2seq"):
            file = write_rows(
                tmp_path / "pairs.csv", [("is it good", text) for text in TEXTS], columns=("text", "more")
            )
            return ("--data", file, "--text-pair", "more")
        return ("--data", texts)

    return write


def read(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("task", METRICS)
def test_prune_and_evaluate(run, saved, data, out, task):
    folder, options = saved(task), data(task)
    status, printed, err = run("prune", folder, out, *options, "--eval", options[1], "--keep", "0.7")
    assert (status, err) == (0, "")
    report = read(out)
    assert report["task"] == task
    assert all(0 < kept < of for kept, of in report["kept"].values())
    assert report["pruned"]["metrics"].keys() == METRICS[task]
    assert 0 < report["agreement"] <= 1
    assert (report["kl"] is None) == (task == "embedding")
    assert ("cosine" if task == "embedding" else "KL (nats)") in printed
    assert "neighbour overlap@10" in printed or task != "embedding"
    assert type(infoprune.load(out)) is type(infoprune.load(folder))

    scored = ["--eval" if option == "--data" else option for option in options]
    status, printed, err = run("evaluate", out, *scored, "--against", folder, "--json")
    assert (status, err) == (0, "")
    metrics = json.loads(printed)["metrics"]
    assert metrics.pop("cosine" if task == "embedding" else "agreement") == pytest.approx(report["agreement"])
    if task != "embedding":
        assert metrics.pop("kl") == pytest.approx(report["kl"])
    assert metrics == pytest.approx(report["pruned"]["metrics"])
    if METRICS[task] - {OVERLAP}:
        alone = json.loads(run("evaluate", out, *scored, "--json")[1])["metrics"]
        assert alone == pytest.approx(report["pruned"]["metrics"])


def test_several_labels(run, refused, make_tiny_bert, tokenizer, tmp_path, out):
    folder = tmp_path / "several"
    make_tiny_bert(num_labels=3, problem_type="multi_label_classification").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    data = write_rows(tmp_path / "rows.csv", [(text, f"1 0 {int('bad' in text)}") for text in TEXTS])
    assert run("prune", folder, out, "--data", data, "--eval", data)[0] == 0
    report = read(out)
    assert report["pruned"]["metrics"].keys() == {"micro_f1"}
    assert report["kl"] > 0
    shutil.rmtree(out)
    for label in ("1 0", "1 0 2"):
        write_rows(data, [("a film", label)])
        refused("evaluate", folder, "--eval", data, words=["rows.csv", f"'{label}'", "3 classes", "--label"])


@pytest.mark.parametrize("task", sorted(METRICS.keys() - {"seq2seq"}))
def test_distill_on_texts_alone(run, saved, data, out, task):
    folder, options = saved(task), data(task)
    if task in ("embedding", "masked-lm"):  # of a few texts the others teach nothing about the one that is held out
        first = ("a", "the", "not", "very", "film", "plot")
        write_rows(options[1], [(f"{word} {text}",) for word in first for text in TEXTS], columns=("text",))
    arguments = ("prune", folder, out, *options, "--eval", options[1], "--batch-size", "6", *ROUGH)
    assert run(*arguments)[0] == 0
    before = read(out)
    status, _, err = run(*arguments, "--distill", "12", "--force")
    assert (status, err) == (0, "")
    if task == "embedding":
        assert read(out)["agreement"] > before["agreement"]
    else:
        assert read(out)["kl"] < before["kl"]
    better = out.parent / "better"
    status, printed, err = run(
        "finetune", out, better, *options, "--teacher", folder, "--eval", options[1], "--epochs", "1"
    )
    assert status == 0
    assert err == "" or err.startswith("warning: training did not bring the model nearer"), "it has learnt what it can"
    for metric in METRICS[task]:
        assert metric.replace("_", " ") in printed


def test_texts_that_were_not_drawn_show_what_was_lost(run, saved, texts, out):
    folder = saved("embedding")
    assert run("prune", folder, out, "--data", texts, "--samples", "20")[0] == 0
    report = read(out)
    assert report["samples"] == 20
    assert report["pruned"]["metrics"].keys() == {OVERLAP}, "the other 16 texts"
    assert run("prune", folder, out, "--data", texts, "--force")[0] == 0
    assert read(out)["agreement"] is None, "no text is left"


def test_an_encoder_decoder_writes_its_own_targets(run, saved, texts, out):
    status, _, err = run(
        "prune", saved("seq2seq"), out, "--data", texts, "--samples", "20", "--max-length", "16", "--keep", "0.5"
    )
    assert (status, err) == (0, "")
    assert read(out)["kl"] > 0
    assert read(out)["pruned"]["metrics"] == {}


def test_a_language_model_without_padding_token(run, saved, texts, out):
    folder = saved("causal-lm")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config.pop("pad_token")
    file.write_text(json.dumps({**config, "eos_token": "[SEP]"}))
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    status, _, err = run("prune", folder, out, "--data", texts, "--samples", "18")
    assert (status, err) == (0, "")
    assert read(out)["kl"] >= 0


def test_directions_are_compared_with_units(run, saved, texts, out):
    """A language model by SliceGPT, whose plan is of another basis, with its own finish and with ours."""
    arguments = ("--criteria", "slicegpt,wanda", "--keep", "0.5", "--budget", "flops=0.6", "--repair-method", "both")
    status, _, err = run("compare", saved("causal-lm"), out, "--data", texts, "--eval", texts, *arguments)
    assert (status, err) == (0, "")
    cells = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    sliced = {(cell["goal"], cell["repair"]): cell for cell in cells if cell["criterion"] == "slicegpt"}
    assert len(sliced) == 4
    for goal in ("keep=0.5", "flops=0.6"):
        own, ours = (sliced[goal, repair] for repair in ("own", "ours"))
        assert own["kept"] == ours["kept"]
        assert own["kept"].keys() == {"hidden-size"}
        assert own["flops"] == ours["flops"] <= 0.6
        assert ours["metrics"]["kl"] < own["metrics"]["kl"]
    assert sliced["keep=0.5", "own"]["kept"] == {"hidden-size": 24}


def test_any_encoder_is_an_embedding_model_if_asked(run, saved, texts, out):
    folder = saved("masked-lm")
    assert (
        run("prune", folder, out, "--data", texts, "--task", "embedding", "--structures", "ffn", "--keep", "0.5")[0]
        == 0
    )
    assert read(out)["task"] == "embedding"
    small = infoprune.load(out)
    assert type(small) is BertModel
    assert small.pooler is None, "the weights have no pooler, so none is made up"
    assert run("evaluate", out, "--against", folder, "--eval", texts, "--task", "embedding")[0] == 0


def test_the_vocabulary_of_an_embedding_model(run, saved, texts, out):
    folder = saved("embedding")
    assert run("prune", folder, out, "--data", texts, "--eval", texts, "--structures", "vocabulary")[0] == 0
    assert read(out)["agreement"] == pytest.approx(1.0), "no token of these texts has gone"
    assert infoprune.load(out).config.vocab_size < infoprune.load(folder).config.vocab_size


# Folders of sentence-transformers


def sentence_folder(folder, tmp_path, pooling, inside):
    """What sentence-transformers saves around a Transformer."""
    root = tmp_path / "sentence"
    place = root / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, place)
    module_path = "sentence_transformers.models."
    modules = [(inside, "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": module_path + name} for i, (path, name) in enumerate(modules)
    ]
    (root / "modules.json").write_text(json.dumps(rows))
    (root / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{name}": name == pooling for name in ("cls_token", "mean_tokens", "max_tokens")}
    (root / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))
    (root / "config_sentence_transformers.json").write_text("{}")
    (place / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    return root


@pytest.mark.parametrize("inside", ["", "0_Transformer"])
@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_a_sentence_transformers_folder_in_and_out(run, saved, texts, tmp_path, out, pooling, inside):
    root = sentence_folder(saved("embedding"), tmp_path, pooling, inside)
    status, _, err = run("prune", root, out, "--data", texts, "--eval", texts, "--structures", "ffn", "--keep", "0.5")
    assert (status, err) == (0, "")
    modules = json.loads((out / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Normalize"]
    for file in ("1_Pooling/config.json", "config_sentence_transformers.json"):
        assert (out / file).read_bytes() == (root / file).read_bytes()
    assert (out / "sentence_bert_config.json").read_bytes() == (
        root / inside / "sentence_bert_config.json"
    ).read_bytes()
    # The embedding is that of the folder's pooling, on texts cut to its length.
    models = [AutoModel.from_pretrained(folder).eval() for folder in (root / inside, out)]
    tokenizer = AutoTokenizer.from_pretrained(out)
    cosines = []
    for text in TEXTS:
        given = tokenizer(text, truncation=True, max_length=9, return_tensors="pt")
        with torch.no_grad():
            states = [model(**given).last_hidden_state[0] for model in models]
        cosines.append(torch.cosine_similarity(*(h[0] if pooling == "cls_token" else h.mean(0) for h in states), dim=0))
    assert read(out)["agreement"] == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-5)
    again = tmp_path / "again"
    assert run("prune", out, again, "--data", texts, "--keep", "0.5")[0] == 0, "what came out goes in"
    assert run("evaluate", again, "--against", root, "--eval", texts)[0] == 0


def damage_modules(root):
    (root / "modules.json").write_text("[{}]")


def leave_the_folder(root):
    rows = json.loads((root / "modules.json").read_text())
    (root / "modules.json").write_text(json.dumps([{**rows[0], "path": "../.."}]))


def break_json(root):
    (root / "modules.json").write_text("[")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_modules, ["names no Transformer", "save the model again"]),
        (leave_the_folder, ["names no Transformer inside the folder"]),
        (break_json, ["modules.json is not JSON"]),
    ],
)
def test_damaged_sentence_folders(refused, saved, texts, tmp_path, out, damage, words):
    root = sentence_folder(saved("embedding"), tmp_path, "mean_tokens", "")
    damage(root)
    refused("prune", root, out, "--data", texts, words=words)


def test_a_pooling_that_is_not_supported(refused, saved, texts, tmp_path, out):
    root = sentence_folder(saved("embedding"), tmp_path, "max_tokens", "")
    refused("prune", root, out, "--data", texts, words=["pooling_mode_max_tokens", "mean, cls", "infoprune.prune"])
