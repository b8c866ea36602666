"""Folders from anywhere: no code in them is run, and what is wrong with them is said in one line."""

import ast
import json
import os
import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports import REPORT
from safetensors.torch import load_file, save_file

import infoprune
from infoprune.checkpoint import load
from infoprune.errors import InputError
from infoprune.files import json_file
from infoprune.files.model_folder import read_config
from infoprune.jobs.models import open_tokenizer
from infoprune.jobs.report import read_report
from infoprune.reports.page import page
from infoprune.reports.render import kept_table, markdown, summary, table
from infoprune.reports.report import Report
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.training.finetune import load_for_finetuning

OPENERS = {
    "load": load,
    "tokenizer": open_tokenizer,
    "finetune": lambda folder: load_for_finetuning(folder, ["0", "1"]),
}


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def ran(tmp_path):
    """A file that code in a folder would make."""
    return tmp_path / "ran"


@pytest.mark.parametrize("model_type", ["bert", "strange"])
@pytest.mark.parametrize("opener", OPENERS)
def test_remote_code_is_neither_run_nor_offered(saved_bert, ran, opener, model_type, monkeypatch, capfd):
    def asked(*words):
        raise AssertionError(f"the user was asked {words}")

    monkeypatch.setattr("builtins.input", asked)
    code = "from transformers import BertConfig as C, BertForSequenceClassification as M, BertTokenizerFast as T\n"
    (saved_bert / "code.py").write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n{code}")
    names = {"AutoConfig": "code.C", "AutoModel": "code.M", "AutoModelForSequenceClassification": "code.M"}
    edit(saved_bert / "config.json", model_type=model_type, auto_map=names)
    unknown = {} if model_type == "bert" else {"tokenizer_class": "Strange"}
    edit(saved_bert / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", "code.T"]}, **unknown)
    with pytest.raises(InputError) if model_type == "strange" else nullcontext():
        OPENERS[opener](saved_bert)
    assert not ran.exists()
    assert "y/N" not in capfd.readouterr().out


class Bomb:
    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return os.mkdir, (str(self.ran),)


@pytest.mark.parametrize("opener", ["load", "finetune"])
@pytest.mark.parametrize("index", [False, True])
def test_pickles_are_never_opened(saved_bert, ran, opener, index):
    bomb = pickle.dumps(Bomb(ran))
    weights = saved_bert / "model.safetensors"
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin"):
        (saved_bert / name).write_bytes(bomb)
    OPENERS[opener](saved_bert)  # the safetensors beside them are what counts
    weights.rename(saved_bert / "other.safetensors")
    if index:
        table = {"metadata": {}, "weight_map": {"classifier.bias": "pytorch_model.bin", "a": "../../../etc/passwd"}}
        (saved_bert / "model.safetensors.index.json").write_text(json.dumps(table))
    with pytest.raises(InputError):
        OPENERS[opener](saved_bert)
    weights.write_bytes(bomb)  # a pickle by another name
    with pytest.raises(InputError):
        OPENERS[opener](saved_bert)
    assert not ran.exists()
    pickle.loads(bomb)
    assert ran.exists(), "the bomb works"


def test_every_opening_says_that_it_runs_no_code():
    seen = set()
    for path in Path(infoprune.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            # A tokenizer that is open already is made again from files of our own, by its class.
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called.endswith(".from_pretrained") and called != "type(tokenizer).from_pretrained":
                said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert said.get("trust_remote_code") == "False", f"{path.name}:{node.lineno}"
                seen.add(path)
    assert len(seen) >= 3


@pytest.mark.parametrize(
    "fields",
    [
        {"attn_implementation": "owner/kernel"},
        {"_attn_implementation": "owner/kernel@main"},
        {"text_config": {"attn_implementation": "paged|owner/kernel"}},
        {"attn_implementation": {"": "sdpa", "text_config": "owner/kernel"}},
        {"experts_implementation": ["owner/kernel"]},
    ],
)
def test_kernels_of_a_hub_are_refused(saved_bert, fields):
    edit(saved_bert / "config.json", **fields)
    for opener in (load, read_config):
        with pytest.raises(InputError, match=r"config\.json names the code '.*owner/kernel.*no code is fetched.*sdpa"):
            opener(saved_bert)


def test_names_without_a_place_on_a_hub_are_left_to_transformers(saved_bert):
    edit(saved_bert / "config.json", attn_implementation="eager", _name_or_path="owner/model")
    assert load(saved_bert).config.model_type == "bert"


def test_a_package_that_is_not_there_is_not_asked_for(saved_bert):
    edit(saved_bert / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(InputError, match=r"quantised \(bitsandbytes\), expected .* pass the original model"):
        load(saved_bert)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"model_type": ' + "1" * 5000 + "}", "\xff", ""])
@pytest.mark.parametrize("name", ["config.json", "plan.json", "report.json", "modules.json"])
def test_files_that_are_no_json(saved_bert, name, text):
    (saved_bert / name).write_bytes(text.encode("latin1"))
    opener = {"report.json": read_report, "modules.json": read_sentence_folder}.get(name, load)
    with pytest.raises(InputError, match=name):
        opener(saved_bert)


def test_files_that_would_fill_the_memory(saved_bert, monkeypatch):
    monkeypatch.setattr(json_file, "MOST_BYTES", 10)
    with pytest.raises(InputError, match=r"config\.json has [\d,]+ bytes, expected at most 10 of JSON; save"):
        load(saved_bert)


def test_weights_that_claim_more_than_they_hold(saved_bert):
    file = saved_bert / "model.safetensors"
    file.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        load(saved_bert)


def test_sites_that_are_paths(saved_bert):
    for site in ("../../../etc/passwd", "layers.0.ffn/../..", "layers.0.ffn\n", "__class__", ""):
        plan = {"version": 2, "model_type": "bert", "units": {site: 4}, "kept": {site: [0]}, "criterion": "", "seed": 0}
        (saved_bert / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(InputError, match="does not have"):
            load(saved_bert)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=3), v, max_size=4))
GOOD = json.loads(REPORT.to_json())


def shown(report):
    table(report), kept_table(report.kept), summary(report), markdown(report), page(report)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(GOOD)) | st.sampled_from([f"pruned.{key}" for key in GOOD["pruned"]]), values)
def test_any_report_is_shown_or_refused(key, value):
    outer, _, inner = key.partition(".")
    damaged = GOOD | {outer: GOOD[outer] | {inner: value} if inner else value}
    try:
        report = Report.from_json(json.dumps(damaged))
    except InputError:
        return
    shown(report)
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"samples": "many"}, "samples is 'many', expected int"),
        ({"seed": True}, "seed is True, expected int"),
        ({"kl": float("nan")}, "kl is nan, expected float"),
        ({"nats_lost": 10**400}, "nats_lost is 1000"),
        ({"kept": {"layers.0.ffn": [3]}}, r"kept\.layers\.0\.ffn has 1 parts, expected 2"),
        ({"kept": {"layers.0.ffn": 3}}, r"kept\.layers\.0\.ffn is no array"),
        ({"kept": [3]}, "kept is no object"),
        ({"kept": {"layers.0.ffn": [9, 8]}}, r"kept\.layers\.0\.ffn is 9 of 8"),
        ({"curves": {"layers.9.ffn": [1.0, 0.0]}}, r"curves\.layers\.9\.ffn is no curve of a site"),
        ({"curves": {"layers.0.ffn": [1.0]}}, r"curves\.layers\.0\.ffn is no curve of a site"),
        ({"curves": {"layers.0.ffn": [1e200, 0.0]}}, r"curves\.layers\.0\.ffn is no curve of a site"),
        ({"curves": {"layers.0.ffn": [-1.0, 0.0]}}, r"curves\.layers\.0\.ffn is no curve of a site"),
        ({"curves": {"layers.0.ffn": "flat"}}, r"curves\.layers\.0\.ffn is no array"),
        ({"shape": [0, 8]}, "0 is the size of nothing"),
        ({"dense": 3}, "dense is no object with active_parameters, bytes, flops"),
        ({"dense": {}}, "dense is no object with active_parameters, bytes, flops"),
        ({"surprise": 1}, "is no object with agreement, base_model"),
        ({"version": 99}, "version 1"),
    ],
)
def test_what_a_damaged_report_is_told(fields, words):
    with pytest.raises(InputError, match=words):
        Report.from_json(json.dumps(GOOD | fields))


def test_weights_of_other_dtypes_than_the_config_says(saved_bert):
    tensors = {name: tensor.half() for name, tensor in load_file(saved_bert / "model.safetensors").items()}
    save_file(tensors, saved_bert / "model.safetensors", metadata={"format": "pt"})
    assert load(saved_bert).classifier.weight.isfinite().all()
