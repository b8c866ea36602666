"""What lies in a folder in place of a model, or beside it, is named with what to do."""

import json

import pytest

from infoprune.errors import InputError
from infoprune.files.model_folder import read_config

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab29\nsize 12345\n"


@pytest.mark.parametrize(
    ("field", "method"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True}, "a method without a name"),
    ],
)
def test_quantised_weights(saved_bert, field, method):
    file = saved_bert / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "quantization_config": field}))
    with pytest.raises(InputError, match=rf"quantised \({method}\), expected .* pass the original model"):
        read_config(saved_bert)
    file.write_text(json.dumps({**config, "quantization_config": None}))
    assert read_config(saved_bert)["model_type"] == "bert"


def test_the_newest_checkpoint_is_proposed(saved_bert, tmp_path):
    run = tmp_path / "run"
    for step in (5, 40, 300):
        (run / f"checkpoint-{step}").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds checkpoints, expected .* pass e\.g\. .*/run/checkpoint-300$"):
        read_config(run)
    saved_bert.rename(run / "checkpoint-1000")
    assert read_config(run / "checkpoint-1000")["model_type"] == "bert"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pointer_is_not_the_file(saved_bert, name):
    (saved_bert / name).write_text(POINTER)
    with pytest.raises(
        InputError, match=rf"{name} is a pointer of Git LFS, expected the file itself; fetch it with Git LFS"
    ):
        read_config(saved_bert)


def test_pointers_of_other_formats_do_not_matter(saved_bert):
    (saved_bert / "pytorch_model.bin").write_text(POINTER)
    (saved_bert / "model.onnx").write_text(POINTER)
    assert read_config(saved_bert)["model_type"] == "bert"
