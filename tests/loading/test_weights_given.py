"""Weights as users have them: with prefixes of wrappers, or of other shapes than the config beside them."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from infoprune.checkpoint import load, save
from infoprune.errors import InputError, reason_of
from infoprune.files.model_folder import read_config
from infoprune.training.heads import with_head


@pytest.fixture
def rename(saved_bert):
    """Give the weights in a folder other names; a function returns all names for one weight."""

    def change(names):
        file = saved_bert / "model.safetensors"
        given = {new: value.clone() for name, value in load_file(file).items() for new in names(name)}
        save_file(given, file, metadata={"format": "pt"})
        return saved_bert

    return change


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.backbone."])
def test_the_prefix_of_a_wrapper_is_left_out(rename, tiny_bert, tmp_path, prefix):
    path = rename(lambda name: [f"{prefix}{name}"])
    with pytest.warns(UserWarning, match=f"begin with '{prefix}'.*the prefix is left out"):
        model = load(path)
    for name, value in tiny_bert.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    save(model, tmp_path / "again")
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == tiny_bert.state_dict().keys()


def test_what_trains_reads_them_too(rename, tiny_bert):
    path = rename(lambda name: [f"module.{name}"])
    with pytest.warns(UserWarning, match="'module.'"):
        headed = with_head(path, ["a", "b", "c"])
    assert torch.equal(headed.model.bert.pooler.dense.weight, tiny_bert.bert.pooler.dense.weight)


def test_a_language_model_whose_own_prefix_is_that_of_the_wrapper(tmp_path):
    import zoo

    model = zoo.build("llama", dtype=torch.float32)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({f"model.{name}": value for name, value in weights.items()}, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="'model.'"):
        back = load(tmp_path).state_dict()
    assert all(torch.equal(back[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    "names",
    [lambda name: [name], lambda name: [name.removeprefix("bert.")], lambda name: [name, f"other.loss.{name[:5]}"]],
    ids=["as saved", "of the encoder alone", "with others beside"],
)
def test_names_that_transformers_knows_are_left_to_it(rename, names):
    path = rename(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(path)


def test_two_models_in_one_file_are_not_guessed_between(rename):
    path = rename(lambda name: [f"student.{name}", f"teacher.{name}"])
    with pytest.raises(InputError, match=r"prefixes student\., teacher\..*save the model that you want"):
        load(path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers=1000000000, expected at most 41 with the weights"),
        ({"num_labels": 10**9}, "num_labels=1000000000"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings=1000000000000"),
        ({"num_attention_heads": -1}, "num_attention_heads=-1, expected 0 or more"),
        ({"num_hidden_layers": 10**400}, "num_hidden_layers=1000000"),
        (
            {"vocab_size": 10**12},
            r"of shape \(100, 32\), but config.json implies \(1000000000000, 32\)",
        ),
        ({"hidden_size": 40}, r"of shape \(100, 32\), but config.json implies \(100, 40\)"),
        ({"intermediate_size": 1 << 70}, "describes no model"),
        ({"architectures": 3}, "names the architectures 3"),
        ({"architectures": {"a": 1}}, "names the architectures"),
        ({"use_return_dict": False}, "cannot be read by transformers"),
    ],
)
def test_a_damaged_config_is_refused_by_the_shapes_of_the_weights_before_it_is_built(saved_bert, capfd, fields, words):
    config = json.loads((saved_bert / "config.json").read_text())
    (saved_bert / "config.json").write_text(json.dumps(config | fields))
    capfd.readouterr()
    with pytest.raises(InputError, match=words) as raised:
        load(saved_bert)
    assert "report" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_an_answer_in_a_text_has_two_ends(make_tiny_bert, tmp_path):
    from transformers import BertForQuestionAnswering

    BertForQuestionAnswering(make_tiny_bert().config).save_pretrained(tmp_path)
    assert load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    assert read_config(tmp_path)
    with pytest.raises(InputError, match=r"BertForQuestionAnswering 3 labels, expected 2.*remove num_labels"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Two sizes differ. For details look at the above report!", "Two sizes differ."),
        ("You set `ignore_mismatched_sizes` to `False`, thus raising an error. Look at the above report", "ValueError"),
        ("bad\n\nbad field\nFix these issues to save the configuration.", "bad bad field"),
        ("", "ValueError"),
    ],
)
def test_what_is_quoted_of_other_libraries_points_to_nothing(text, said):
    assert reason_of(ValueError(text)) == said
    assert len(reason_of(ValueError("x" * 500), 100)) == 100
