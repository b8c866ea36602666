import json

import pytest
import torch
from rows import write_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import infoprune
from infoprune.measuring.measure import count_bytes

TEXTS = ("the film is good", "the plot is bad", "a fine film!")


@pytest.fixture
def texts(tmp_path):
    return write_rows(tmp_path / "texts.csv", [(text, i % 2) for i, text in enumerate(TEXTS)])


def logits(folder, texts, model_class=AutoModelForSequenceClassification):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        model = model_class.from_pretrained(folder).eval()
        return model(**tokenizer(list(texts), padding=True, return_tensors="pt")).logits


def test_the_vocabulary_alone(run, saved_bert, texts, out):
    status, printed, err = run("prune", saved_bert, out, "--data", texts, "--structures", "vocabulary", "--eval", texts)
    assert (status, err) == (0, "")
    report = json.loads((out / "report.json").read_text())
    kept, of = report["kept"]["vocabulary"]
    assert list(report["kept"]) == ["vocabulary"]
    assert of == 100
    assert f"keeps {kept} of 100 tokens" in printed.splitlines()[0]
    assert (report["loads_in"], report["criterion"], report["nats_lost"]) == ("transformers", "counts", 0.0)
    assert report["dense"]["parameters"] - report["pruned"]["parameters"] == (100 - kept) * 32
    assert report["seconds"]["vocabulary"] > 0
    assert (report["agreement"], report["dense"]["metrics"]) == (1.0, report["pruned"]["metrics"])
    assert report["kl"] == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(logits(out, TEXTS), logits(saved_bert, TEXTS), rtol=0, atol=1e-5)
    assert len(AutoTokenizer.from_pretrained(out)) == kept
    assert "all layers" in (out / "report.md").read_text()
    assert (out / "sizes.png").is_file()
    assert run("report", out)[0] == 0


def test_the_vocabulary_with_neurons(run, saved_bert, texts, out):
    status, _, _ = run(
        "prune", saved_bert, out, "--data", texts, "--structures", "vocabulary,ffn", "--eval", texts, "--keep", "0.5"
    )
    assert status == 0
    report = json.loads((out / "report.json").read_text())
    assert list(report["kept"]) == ["vocabulary", "layers.0.ffn", "layers.1.ffn"]
    assert (report["loads_in"], report["criterion"], report["kept"]["layers.0.ffn"]) == (
        "transformers",
        "information",
        [32, 64],
    )
    own = infoprune.load(out)
    assert own.num_parameters() == report["pruned"]["parameters"]
    assert report["dense"]["parameters"] == infoprune.load(saved_bert).num_parameters()
    assert own.config.vocab_size == report["kept"]["vocabulary"][0]
    plan = json.loads((out / "plan.json").read_text())
    assert len(plan["kept"]["vocabulary"]) == own.config.vocab_size

    again = out.parent / "again"
    assert run("prune", out, again, "--data", texts, "--structures", "ffn", "--keep", "0.5")[0] == 0
    assert json.loads((again / "report.json").read_text())["kept"]["vocabulary"] == report["kept"]["vocabulary"]
    status, printed, _ = run("evaluate", out, "--eval", texts, "--json")
    assert json.loads(printed)["metrics"] == report["pruned"]["metrics"]


def test_both_models_are_asked_the_same(run, saved_bert, texts, tmp_path, out):
    """Words outside of the data are longer for the small model; the order of the texts must not depend on that."""
    unseen = ("dull", "the film is a very great plot and not poor", "great great great", "film is the plot is the film")
    eval_texts = write_rows(tmp_path / "judges.csv", [(text, i % 2) for i, text in enumerate(unseen)])
    arguments = ("--data", texts, "--structures", "vocabulary", "--eval", eval_texts, "--batch-size", "1")
    assert run("prune", saved_bert, out, *arguments)[0] == 0
    report = json.loads((out / "report.json").read_text())
    before, after = (
        torch.cat([logits(folder, [text]) for text in unseen]).double().log_softmax(1) for folder in (saved_bert, out)
    )
    assert not torch.allclose(before, after)
    assert report["kl"] == pytest.approx(float((before.exp() * (before - after)).sum(1).mean()), rel=1e-3)
    assert report["agreement"] == float((before.argmax(1) == after.argmax(1)).double().mean())


def test_a_budget_counts_from_the_model_with_all_tokens(run, saved_bert, texts, out):
    arguments = ("--data", texts, "--structures", "vocabulary,ffn,heads", "--budget", "params=0.7")
    assert run("prune", saved_bert, out, *arguments)[0] == 0
    report = json.loads((out / "report.json").read_text())
    assert 0.6 < report["pruned"]["parameters"] / report["dense"]["parameters"] <= 0.7
    assert report["kept"]["layers.0.ffn"][0] > 16


def test_a_search_counts_from_the_model_with_all_tokens(run, saved_bert, texts, out):
    arguments = ("--data", texts, "--structures", "vocabulary,ffn", "--eval", texts, "--max-kl", "0.5")
    assert run("prune", saved_bert, out, *arguments)[0] == 0
    report = json.loads((out / "report.json").read_text())
    assert report["kl"] <= 0.5
    assert report["dense"]["parameters"] == infoprune.load(saved_bert).num_parameters()


def test_rare_tokens_go(run, saved_bert, texts, tmp_path):
    sizes = []
    for count in (1, 2, 4):
        folder = tmp_path / f"out{count}"
        arguments = ("--data", texts, "--structures", "vocabulary", "--min-count", count, "--plan-only")
        assert run("prune", saved_bert, folder, *arguments)[0] == 0
        assert [file.name for file in folder.iterdir()] == ["plan.json"]
        sizes.append(len(json.loads((folder / "plan.json").read_text())["kept"]["vocabulary"]))
    assert sizes[0] > sizes[1] > sizes[2]


def test_extra_tokens_stay_and_the_report_says_what_will_be_split(run, saved_bert, texts, tmp_path):
    sizes, shares = [], []
    for extra in (0, 3):
        folder = tmp_path / f"out{extra}"
        arguments = ("--data", texts, "--structures", "vocabulary", "--extra-tokens", extra)
        status, printed, _ = run("prune", saved_bert, folder, *arguments)
        report = json.loads((folder / "report.json").read_text())
        sentence = f"About {report['missing']:.1%} of the tokens of new, similar texts"
        assert status == 0
        assert sentence in printed
        assert sentence in (folder / "report.md").read_text()
        sizes.append(report["kept"]["vocabulary"][0])
        shares.append(report["missing"])
    assert sizes[1] == sizes[0] + 3
    assert 0 <= shares[1] <= shares[0] < 1
    assert run("prune", saved_bert, tmp_path / "ffn", "--data", texts, "--structures", "ffn", "--keep", "0.5")[0] == 0
    assert json.loads((tmp_path / "ffn" / "report.json").read_text())["missing"] is None


def test_a_teacher_with_all_tokens_teaches_the_small_one(run, saved_bert, texts, out, tmp_path):
    assert run("prune", saved_bert, out, "--data", texts, "--structures", "vocabulary,ffn", "--keep", "0.5")[0] == 0
    better = tmp_path / "better"
    status, _, err = run("finetune", out, better, "--data", texts, "--teacher", saved_bert, "--epochs", "1")
    assert (status, err) == (0, "")
    assert (better / "plan.json").read_bytes() == (out / "plan.json").read_bytes()


def test_nearest_rows_where_infoprune_has_to_open_the_folder_anyway(run, saved_bert, texts, out, tmp_path):
    """With heads no option is needed; the tokenizer is as it was, and all that follows takes the folder."""
    assert (
        run("prune", saved_bert, out, "--data", texts, "--structures", "vocabulary,ffn,heads", "--eval", texts)[0] == 0
    )
    report = json.loads((out / "report.json").read_text())
    kept, of = report["kept"]["vocabulary"]
    assert (report["mapped"], report["loads_in"]) == (of - kept, "infoprune")
    sentence = f"{of - kept} dropped tokens are remapped to kept ones; the tokenizer is not changed."
    assert sentence in (out / "report.md").read_text()
    assert "of the tokens of new, similar texts will be remapped" in (out / "report.md").read_text()
    status, printed, _ = run("report", out)
    assert (status, sentence in printed) == (0, True)
    words = [AutoTokenizer.from_pretrained(folder) for folder in (saved_bert, out)]
    assert words[0].get_vocab() == words[1].get_vocab()
    own = infoprune.load(out)
    assert own.get_input_embeddings().num_embeddings == kept < own.config.vocab_size == of
    assert own.num_parameters() == report["pruned"]["parameters"]

    status, printed, _ = run("evaluate", out, "--eval", texts, "--against", saved_bert, "--json")
    assert (status, json.loads(printed)["metrics"]["kl"]) == (0, pytest.approx(report["kl"]))
    unseen = write_rows(tmp_path / "unseen.csv", [("the dull film is poor", 0), ("a great plot", 1)])
    assert run("evaluate", out, "--eval", unseen)[0] == 0
    again = ("prune", out, tmp_path / "again", "--data", texts, "--structures", "ffn", "--keep", "0.5")
    assert run(*again)[0] == 0
    more = json.loads((tmp_path / "again" / "report.json").read_text())
    assert (more["kept"]["vocabulary"], more["mapped"]) == ([kept, of], of - kept)
    taught = ("finetune", out, tmp_path / "taught", "--data", texts, "--teacher", saved_bert, "--epochs", "1")
    assert run(*taught)[0] == 0
    assert (tmp_path / "taught" / "plan.json").read_bytes() == (out / "plan.json").read_bytes()
    graph = tmp_path / "small.onnx"
    assert run("export", out, graph, "--data", unseen)[0] == 0
    assert run("bench", saved_bert, out, graph, "--repeats", "1", "--eval", unseen)[0] == 0


def test_either_way_can_be_asked_for(run, saved_bert, texts, tmp_path):
    alone = ("--data", texts, "--structures", "vocabulary", "--dropped-tokens", "remap")
    status, printed, err = run("prune", saved_bert, tmp_path / "remap", *alone, "--eval", texts)
    assert (status, err) == (0, "")
    assert "after import infoprune" in printed.splitlines()[1]
    report = json.loads((tmp_path / "remap" / "report.json").read_text())
    assert (report["loads_in"], report["agreement"], report["nats_lost"]) == ("infoprune", 1.0, 0.0)
    assert report["kl"] == pytest.approx(0, abs=1e-6)
    both = ("--data", texts, "--structures", "vocabulary,heads", "--keep", "0.5", "--dropped-tokens", "pieces")
    assert run("prune", saved_bert, tmp_path / "pieces", *both)[0] == 0
    report = json.loads((tmp_path / "pieces" / "report.json").read_text())
    assert report["mapped"] is None
    assert len(AutoTokenizer.from_pretrained(tmp_path / "pieces")) == report["kept"]["vocabulary"][0]


def test_a_uniform_shape_stays_one_for_transformers(run, saved_bert, texts, out):
    arguments = ("--data", texts, "--structures", "vocabulary,ffn", "--shape", "uniform", "--budget", "flops=0.8")
    assert run("prune", saved_bert, out, *arguments)[0] == 0
    report = json.loads((out / "report.json").read_text())
    assert (report["loads_in"], report["mapped"]) == ("transformers", None)


def test_a_budget_counts_the_numbers_of_rows(run, saved_bert, texts, out):
    arguments = ("--data", texts, "--structures", "vocabulary,ffn,heads", "--budget", "bytes=0.7")
    assert run("prune", saved_bert, out, *arguments)[0] == 0
    report = json.loads((out / "report.json").read_text())
    assert report["mapped"] > 0
    assert 0.6 < report["pruned"]["bytes"] / report["dense"]["bytes"] <= 0.7
    assert report["pruned"]["bytes"] == count_bytes(infoprune.load(out))


# What is refused


def test_options_that_would_change_nothing(refused, saved_bert, texts, out):
    alone = ("prune", saved_bert, out, "--data", texts, "--structures", "vocabulary")
    for option in (("--keep", "0.25"), ("--budget", "flops=0.5"), ("--distill", "1")):
        refused(*alone, *option, words=["only the vocabulary", "add e.g. ffn"])
    refused("prune", saved_bert, out, "--data", texts, "--min-count", "2", words=["min-count", "vocabulary"])
    refused("prune", saved_bert, out, "--data", texts, "--extra-tokens", "2", words=["extra-tokens", "vocabulary"])
    neurons = ("prune", saved_bert, out, "--data", texts)
    refused(*neurons, "--dropped-tokens", "remap", words=["dropped-tokens", "--structures"])
    refused(*alone, "--dropped-tokens", "closest", words=["'closest'", "remap, pieces"])
    uniform = ("--structures", "vocabulary,ffn", "--shape", "uniform", "--dropped-tokens", "remap")
    refused(*neurons, *uniform, words=["uniform", "dropped-tokens pieces"])
    refused(*alone, "--min-count", "0", words=["min-count is 0", "--min-count"])
    refused(*alone, "--extra-tokens", "-1", words=["--extra-tokens is -1", "--extra-tokens"])


def test_a_site_that_is_none(refused, saved_bert, texts, out):
    refused(
        "prune",
        saved_bert,
        out,
        "--data",
        texts,
        "--structures",
        "words",
        words=["words", "heads, ffn, pooler, hidden-size, hidden-size-per-layer, vocabulary"],
    )


def test_a_slow_tokenizer(refused, saved_bert, texts, out, monkeypatch):
    model_class = type(AutoTokenizer.from_pretrained(saved_bert))
    monkeypatch.setattr(model_class, "is_fast", False)
    alone = ("prune", saved_bert, out, "--data", texts, "--structures", "vocabulary")
    refused(*alone, words=["slow", "--dropped-tokens remap", "--structures"])


def test_a_tokenizer_of_another_kind(refused, saved_bert, texts, out):
    file = saved_bert / "tokenizer.json"
    state = json.loads(file.read_text())
    state["model"] = {"type": "WordLevel", "vocab": state["model"]["vocab"], "unk_token": "[UNK]"}
    file.write_text(json.dumps(state))
    refused(
        "prune",
        saved_bert,
        out,
        "--data",
        texts,
        "--structures",
        "vocabulary",
        words=["WordLevel", "WordPiece", "--dropped-tokens remap"],
    )


def test_one_way_after_the_other(run, refused, saved_bert, texts, tmp_path, out):
    first = tmp_path / "first"
    assert run("prune", saved_bert, first, "--data", texts, "--structures", "vocabulary,heads", "--keep", "0.5")[0] == 0
    again = ("prune", first, out, "--data", texts, "--structures", "vocabulary")
    refused(
        *again,
        "--dropped-tokens",
        "pieces",
        words=["already pruned with --dropped-tokens remap", "pass --dropped-tokens remap"],
    )
    assert run(*again)[0] == 0
