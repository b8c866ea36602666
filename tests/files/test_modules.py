"""Folders of sentence-transformers: where the Transformer is, whether its head is missing, links out of a folder."""

import json

import pytest
from hub_cache import files_of, put_in_cache
from transformers import BertConfig, BertForMaskedLM, BertModel, T5Config, T5EncoderModel

from infoprune.checkpoint import empty_model, load
from infoprune.errors import InputError
from infoprune.files.links import check_links
from infoprune.files.modules import lacks_head, read_modules, transformer_folder

TINY = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}


def write_modules(folder, inside=""):
    rows = [(inside, "Transformer"), ("1_Pooling", "Pooling")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in rows]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize("inside", ["", "0_Transformer"])
def test_the_folder_of_the_transformer(tmp_path, inside):
    assert transformer_folder(tmp_path) == tmp_path
    assert read_modules(tmp_path) is None
    write_modules(tmp_path, inside)
    assert transformer_folder(tmp_path) == tmp_path / inside


@pytest.mark.parametrize("inside", ["", "0_Transformer"])
@pytest.mark.parametrize("encoder_alone", [True, False])
def test_the_names_of_the_weights_tell_whether_the_head_is_missing(tmp_path, inside, encoder_alone):
    """As in all-mpnet-base-v2: its config names MPNetForMaskedLM, its file holds the encoder."""
    place = tmp_path / inside
    whole = BertForMaskedLM(BertConfig(**TINY))
    (whole.bert if encoder_alone else whole).save_pretrained(place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    assert not lacks_head(place), "without modules.json a missing head is an error"
    write_modules(tmp_path, inside)
    assert lacks_head(tmp_path) == encoder_alone


def test_a_class_without_a_head_lacks_none(tmp_path):
    write_modules(tmp_path)
    BertModel(BertConfig(**TINY)).save_pretrained(tmp_path)
    assert not lacks_head(tmp_path)
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 20}
    T5EncoderModel(T5Config(**sizes)).save_pretrained(tmp_path)
    assert not lacks_head(tmp_path), "the encoder of a T5 is a class of its own"


@pytest.mark.parametrize("config", ["{}", '{"architectures": []}', '{"architectures": ["NoSuchForMaskedLM"]}', "[]"])
def test_a_config_that_names_no_class_tells_nothing(tmp_path, config):
    write_modules(tmp_path)
    (tmp_path / "config.json").write_text(config)
    assert not lacks_head(tmp_path)


def test_links_out_of_a_folder(tmp_path):
    inside, outside = tmp_path / "model", tmp_path / "secret"
    (inside / "1_Pooling").mkdir(parents=True)
    outside.write_text("secret")
    (inside / "real").write_text("mine")
    (inside / "1_Pooling" / "config.json").symlink_to(inside / "real")
    check_links(inside / "1_Pooling", inside)
    (inside / "1_Pooling" / "more").symlink_to(tmp_path)
    with pytest.raises(
        InputError, match=r"more is a link to .*, expected a file inside of .*put the file itself there"
    ):
        check_links(inside / "1_Pooling", inside)
    (inside / "1_Pooling" / "more").unlink()
    (inside / "1_Pooling" / "more").symlink_to(outside)
    with pytest.raises(InputError, match="more is a link to"):
        check_links(inside / "1_Pooling", inside)


def test_the_links_of_the_hubs_cache_are_its_own(tmp_path):
    snapshot = put_in_cache(tmp_path / "hub", "owner/name", {"1_Pooling/config.json": b"{}"})
    check_links(snapshot / "1_Pooling", snapshot)
    assert files_of(snapshot) == {"1_Pooling/config.json": b"{}"}
    (snapshot / "1_Pooling" / "more").symlink_to(tmp_path / "other")
    (tmp_path / "other").write_text("not in the cache")
    with pytest.raises(InputError, match="more is a link to"):
        check_links(snapshot / "1_Pooling", snapshot)


def test_python_opens_an_encoder_whose_config_names_a_head(tmp_path):
    whole = BertForMaskedLM(BertConfig(**TINY))
    whole.bert.save_pretrained(tmp_path / "0_Transformer")
    file = tmp_path / "0_Transformer" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(InputError, match="lack"):
        load(tmp_path / "0_Transformer")
    write_modules(tmp_path, "0_Transformer")
    opened = load(tmp_path)
    assert type(opened) is BertModel
    assert empty_model(tmp_path).num_parameters() == opened.num_parameters()
