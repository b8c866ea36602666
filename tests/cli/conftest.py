import json

import pytest
import torch
import zoo
from rows import NEGATIVE, POSITIVE, TEXTS, write_rows
from transformers import BertForMaskedLM, BertForQuestionAnswering, BertForTokenClassification, BertModel

from infoprune.cli import main

BERTS = {
    "embedding": BertModel,
    "masked-lm": BertForMaskedLM,
    "token-classification": BertForTokenClassification,
    "question-answering": BertForQuestionAnswering,
}
OTHERS = {"causal-lm": "llama", "seq2seq": "t5"}


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


@pytest.fixture
def small(run, saved_bert, reviews, out):
    """The folder of a pruned model."""
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--eval", reviews, "--keep", "0.5")
    assert err == ""
    assert status == 0
    return out


@pytest.fixture
def saved(make_tiny_bert, tokenizer, tmp_path):
    """The folder of a tiny model for a task."""

    def build(task, **settings):
        folder = tmp_path / "model"
        if task in BERTS:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = BERTS[task](make_tiny_bert(**settings).config)
                for parameter in model.parameters():
                    torch.nn.init.normal_(parameter, std=0.2, mean=float(parameter.detach().mean()))
        else:
            model = zoo.build(OTHERS[task], dtype=torch.float32, auto=None, **settings)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if task not in BERTS:  # these know no token types
            file = folder / "tokenizer_config.json"
            config = json.loads(file.read_text())
            file.write_text(json.dumps({**config, "model_input_names": ["input_ids", "attention_mask"]}))
        return folder

    return build


@pytest.fixture
def texts(tmp_path):
    return write_rows(tmp_path / "texts.csv", [(text,) for text in TEXTS], columns=("text",))
