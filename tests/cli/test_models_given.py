"""Models as users have them: what they are for, what their configs ask for, and how they were saved."""

import json

import pytest
import zoo
from rows import TEXTS, write_rows
from safetensors.torch import load_file, save_file
from tiny import make_batches

import infoprune
from infoprune.jobs.models import open_tokenizer


@pytest.fixture
def edit(saved_bert):
    def change(**fields):
        file = saved_bert / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))
        return saved_bert

    return change


def report_of(out):
    return json.loads((out / "report.json").read_text())


def test_outputs_that_a_config_asks_for_change_no_command(run, edit, reviews, out):
    folder = edit(return_dict=False, output_attentions=True, output_hidden_states=True)
    assert run("prune", folder, out, "--data", reviews, "--keep", "0.5", "--no-repair")[::2] == (0, "")
    assert run("evaluate", out, "--eval", reviews, "--against", folder)[::2] == (0, "")
    assert run("forecast", folder)[::2] == (0, "")


def test_what_cannot_be_written_is_refused_before_the_work(refused, edit, reviews, out, monkeypatch):
    def cannot(*_, **__):
        raise ValueError("Such a config is invalid. For details look at the above report.")

    folder = edit()
    monkeypatch.setattr("transformers.BertConfig.save_pretrained", cannot)
    monkeypatch.setattr("infoprune.jobs.prune.prune", lambda *_, **__: pytest.fail("the work has begun"))
    monkeypatch.setattr("infoprune.jobs.finetune.finetune", lambda *_, **__: pytest.fail("the work has begun"))
    for command in ("prune", "finetune"):
        err = refused(command, folder, out, "--data", reviews, words=["config.json", "Such a config is invalid."])
        assert "report" not in err


def test_a_config_that_transformers_cannot_read_is_no_fault_of_the_tokenizer(refused, edit, reviews, out, tmp_path):
    folder = edit(use_return_dict=False)
    for command in (("prune", folder, out, "--data"), ("evaluate", folder, "--eval")):
        err = refused(*command, reviews, words=["config.json cannot be read by transformers", "use_return_dict"])
        assert "tokenizer" not in err


def test_an_embedding_model_learns_labels_and_its_head_is_announced(run, saved, reviews, out, tmp_path):
    assert run("prune", saved("embedding"), out, "--data", reviews, "--keep", "0.5", "--no-repair")[0] == 0
    tuned = tmp_path / "tuned"
    status, said, err = run("finetune", out, tuned, "--data", reviews, "--eval", reviews, "--epochs", "0.5")
    assert (status, err) == (0, "")
    assert said.startswith("BertForSequenceClassification gets a new head for 2 classes (0, 1); BertModel has none")
    assert "The pruned sizes stay." in said
    model = infoprune.load(tuned)
    assert model.classifier.out_features == 2
    assert [site.units for site in infoprune.find_sites(model)] == [2, 32, 2, 32]


def test_remedies_that_a_prefix_needs_work(run, saved_bert, reviews, out):
    file = saved_bert / "model.safetensors"
    weights = {f"module.{name}": value for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    status, _, err = run("finetune", saved_bert, out, "--data", reviews, "--epochs", "0.1")
    assert status == 0
    assert err.startswith("warning: the names of the weights in")
    assert len(err.splitlines()) == 1
    assert run("evaluate", out, "--eval", reviews)[::2] == (0, "")
    assert "bert.pooler.dense.weight" in load_file(out / "model.safetensors")
    del weights["module.classifier.bias"]
    save_file(weights, file, metadata={"format": "pt"})
    assert "train a head first (infoprune finetune)" in run("evaluate", saved_bert, "--eval", reviews)[2]
    assert run("finetune", saved_bert, out, "--data", reviews, "--epochs", "0.1", "--force")[0] == 0


def test_a_tokenizer_that_breaks_down_is_refused_in_one_line(saved_bert, capfd):
    file = saved_bert / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["post_processor"]["special_tokens"] = {}
    file.write_text(json.dumps(tokenizer))
    capfd.readouterr()
    with pytest.raises(infoprune.InputError, match="cannot be read or cannot split a text") as raised:
        open_tokenizer(saved_bert)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", ""), "the library prints a trace of its own"


@pytest.fixture
def regression(make_tiny_bert, tokenizer, tmp_path):
    folder = tmp_path / "regression"
    make_tiny_bert(num_labels=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_numbers_are_compared_without_labels_and_scored_with_them(run, regression, reviews, out, tmp_path):
    texts = write_rows(tmp_path / "texts.csv", [(text,) for text in TEXTS], columns=("text",))
    status, said, err = run("prune", regression, out, "--data", texts, "--keep", "0.5", "--samples", "18")
    assert (status, err) == (0, "")
    report = report_of(out)
    assert -1 <= report["correlation"] <= 1
    assert report["squared_difference"] > 0
    for name in ("report.md", "README.md", "report.html"):
        assert "correlation to dense" in (out / name).read_text()
    assert "correlation to dense" in said
    given = ("--against", regression, "--json")
    scores = json.loads(run("evaluate", out, "--eval", texts, *given)[1])
    assert scores["metrics"].keys() == {"correlation", "squared_difference"}
    assert scores["against"] == {}
    scores = json.loads(run("evaluate", out, "--eval", reviews, *given)[1])
    alone = json.loads(run("evaluate", regression, "--eval", reviews, "--json")[1])
    assert scores["against"] == alone["metrics"]
    assert scores["metrics"].keys() == {"pearson", "mse", "correlation", "squared_difference"}
    assert "against" in run("evaluate", out, "--eval", reviews, "--against", regression)[1]


def test_the_default_size_is_named_where_it_cannot_be_met(tiny_bert):
    units = {site.name: site.units for site in infoprune.find_sites(tiny_bert)}
    least = infoprune.apply_plan(
        tiny_bert, infoprune.Plan("bert", units, dict.fromkeys(units, (0,)), "random", 0, None)
    )
    with pytest.raises(infoprune.InputError, match=r"no size was given, so the default holds, but `budget=flops=0\.5`"):
        infoprune.prune(least, make_batches(), criterion="magnitude", structures=("heads",))
    with pytest.raises(infoprune.InputError, match=r"^`budget=flops=0\.4` cannot be met"):
        infoprune.prune(least, make_batches(), budget="flops=0.4", criterion="magnitude", structures=("heads",))


def test_speech_and_translation_are_not_distilled():
    for family in ("whisper", "t5"):
        model = zoo.build(family)
        with pytest.raises(infoprune.InputError, match=r"encoder-decoders cannot be distilled.*leave `distill` out"):
            infoprune.prune(model, zoo.inputs(family), keep=0.5, distill=1)
