import json

import pytest
from hub_cache import put_in_cache

from infoprune.tasks.sentence import read_sentence_folder

MODULES = [
    {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


@pytest.fixture
def sentence(tmp_path):
    """A folder of the hub's cache, where all files are links."""
    files = {
        "modules.json": json.dumps(MODULES).encode(),
        "config_sentence_transformers.json": b"{}",
        "0_Transformer/sentence_bert_config.json": b'{"max_seq_length": 9}',
        "1_Pooling/config.json": b'{"word_embedding_dimension": 32, "pooling_mode_cls_token": true}',
    }
    return read_sentence_folder(put_in_cache(tmp_path / "hub", "owner/name", files))


@pytest.mark.parametrize("hidden_size", [None, 32, 16])
def test_the_pooling_is_written_with_the_size_that_it_reads(sentence, tmp_path, hidden_size):
    out = tmp_path / "out"
    out.mkdir()
    sentence.write_beside(out, hidden_size)
    assert (sentence.pooling, sentence.max_length) == ("cls", 9)
    before = (sentence.folder / "1_Pooling" / "config.json").read_bytes()
    written = (out / "1_Pooling" / "config.json").read_bytes()
    if hidden_size == 16:
        assert json.loads(written) == {**json.loads(before), "word_embedding_dimension": 16}
    else:
        assert written == before
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert (sentence.folder / "1_Pooling" / "config.json").read_bytes() == before, "the cache is left as it was"
    assert [module["path"] for module in json.loads((out / "modules.json").read_text())] == ["", "1_Pooling"]
    assert (out / "sentence_bert_config.json").is_file()
