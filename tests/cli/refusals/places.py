"""Places: the folders and files that rows name, each made once when a row asks for it, and never changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import zoo
from rows import NEGATIVE, POSITIVE, TEXTS, write_rows
from safetensors.torch import load_file, save_file
from tiny_bert import build_tiny_bert, build_tokenizer
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    MptConfig,
    MptForCausalLM,
)

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab29\nsize 12345\n"


class Places:
    """Paths by name; `out` is new for every row."""

    def __init__(self, root: Path) -> None:
        self.root, self.made, self.outs = root, {}, 0

    def __getitem__(self, name: str) -> Path:
        if name == "out":
            return self.root / f"out{self.outs}"
        if name not in self.made:
            path = self.root / name.replace("_csv", ".csv")
            self.made[name] = MAKERS[name](path, self) or path
        return self.made[name]


MAKERS: dict[str, Callable[[Path, Places], Path | None]] = {}


def maker(function):
    MAKERS[function.__name__] = function
    return function


def written(name: str, content: str | bytes, suffix: str = "csv") -> None:
    """Add a file of texts."""

    def make(path, _places):
        file = path.with_suffix(f".{suffix}")
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    MAKERS[name] = make


def model(name: str, build: Callable[[], torch.nn.Module], *, types: bool = True) -> None:
    """Add the folder of a model and its tokenizer; some families know no token types."""

    def make(path, _places):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = build()
        made.save_pretrained(path)
        build_tokenizer().save_pretrained(path)
        if not types:
            edit(path / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])

    MAKERS[name] = make


def changed(name: str, change: Callable[[Path], object]) -> None:
    """Add the folder of the classifier with something changed."""

    def make(path, places):
        shutil.copytree(places["bert"], path)
        change(path)

    MAKERS[name] = make


def edit(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def config(**fields: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **fields)


def file(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [each.unlink() for name in names for each in folder.glob(name)] and None


def weight(name: str, value: float) -> Callable[[Path], None]:
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        for each in tensors:
            if name in each:
                tensors[each].fill_(value)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


# Models

model("bert", build_tiny_bert)
model("base", lambda: BertModel(build_tiny_bert().config))
model("embedder", lambda: BertModel(build_tiny_bert().config))
model("other_size", lambda: BertModel(build_tiny_bert(vocab_size=120).config))
model("masked", lambda: BertForMaskedLM(build_tiny_bert().config))
model("tagger", lambda: BertForTokenClassification(build_tiny_bert().config))
model("answerer", lambda: BertForQuestionAnswering(build_tiny_bert().config))
model("number", lambda: build_tiny_bert(num_labels=1))
model("three", lambda: build_tiny_bert(num_labels=3))
model("more_tokens", lambda: build_tiny_bert(vocab_size=120))
model("roberta", lambda: zoo.build("roberta", dtype=torch.float32, pad_token_id=1), types=False)
model("decoder", lambda: zoo.build("llama", dtype=torch.float32), types=False)
model("translator", lambda: zoo.build("t5", dtype=torch.float32), types=False)
model("vit", lambda: zoo.build("vit"))
model("whisper", lambda: zoo.build("whisper"))
model("mpt", lambda: MptForCausalLM(MptConfig(n_layers=1, d_model=8, n_heads=2, vocab_size=100)))

changed("no_config", without("config.json"))
changed("no_weights", without("*.safetensors"))
changed("no_tokenizer", without("tokenizer*"))
changed("config_cut_off", file("config.json", "{"))
changed("config_list", file("config.json", "[]"))
changed("config_empty", file("config.json", "{}"))
changed("weights_pointer", file("model.safetensors", LFS))
changed("weights_damaged", file("model.safetensors", "damaged"))
changed("tokenizer_damaged", file("tokenizer.json", "damaged"))
changed("quantised", config(quantization_config={"quant_method": "gptq", "bits": 4}))


@maker
def tokenizer_empty(path, places):
    shutil.copytree(places["no_tokenizer"], path)
    (path / "spiece.model").write_bytes(b"damaged")


changed("two_classes", config(architectures=["BertForSequenceClassification", "BertModel"]))
changed("no_class", config(architectures=["BertForPoetry"]))
changed("foreign_kernel", config(attn_implementation="someone/kernel"))
changed("later_sizes", config(quantization_config={"quant_method": "infoprune", "version": 9, "units": {}}))
changed("damaged_sizes", config(quantization_config={"quant_method": "infoprune", "version": 1, "units": "all"}))
changed(
    "more_units", config(quantization_config={"quant_method": "infoprune", "version": 1, "units": {"layers.0.ffn": 65}})
)
changed("heads_by_five", config(num_attention_heads=5))
changed("damaged_plan", file("plan.json", "{"))
changed("nan_weights", weight("layer.1.output.dense.weight", float("nan")))
changed("infinite_weights", weight("layer.1.output.dense.weight", float("inf")))
changed(
    "huge_weights",
    lambda folder: [weight(f"layer.0.{part}.dense.weight", 1e30)(folder) for part in ("intermediate", "output")],
)
changed("damaged_modules", file("modules.json", "[]"))
changed("report_of_another_version", file("report.json", "{}"))
changed("report_cut_off", file("report.json", '{"version": 1}'))
changed("no_mask", lambda folder: edit(folder / "tokenizer_config.json", mask_token=None))


@maker
def file_in_place(path, places):
    return places["bert"] / "model.safetensors"


@maker
def without_mask(path, places):
    shutil.copytree(places["masked"], path)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    settings.pop("mask_token")
    (path / "tokenizer_config.json").write_text(json.dumps(settings))


@maker
def full(path, places):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


@maker
def pooled_by_max(path, places):
    shutil.copytree(places["base"], path)
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')


@maker
def nowhere(path, places):
    return path


@maker
def empty_folder(path, places):
    path.mkdir()


@maker
def onnx(path, places):
    file = path.with_suffix(".onnx")
    file.write_bytes(b"no graph")
    return file


# Texts


@maker
def reviews(path, places):
    rows = [
        (f"the {noun} is {first} and very {second}", int(first in POSITIVE))
        for noun in ("film", "plot")
        for first in (*POSITIVE, *NEGATIVE)
        for second in (*POSITIVE, *NEGATIVE)
    ]
    return write_rows(path.with_suffix(".csv"), rows)


@maker
def texts(path, places):
    return write_rows(path.with_suffix(".csv"), [(text,) for text in TEXTS], columns=("text",))


@maker
def pairs(path, places):
    return write_rows(path.with_suffix(".csv"), [(text, text) for text in TEXTS], columns=("first", "second"))


written("empty", "")
written("header_alone", "text,label\n")
written("latin", "text\ncafé\n".encode("latin1"))
written("odd_label", "text,label\ngood film,splendid\nbad film,0\n")
written("one_label", "text,label\ngood film,1\nfine film,1\n")
written("some_labels", "text,label\ngood film,1\nbad film,\n")
written("long_row", "text,label\ngood film,1\nbad film,0,more\n")
written("two_words", "text,label\na good film,0 1\n")
written("unknown_tag", "text,label\na good film,0 1 9\n")
written("sheet", b"PK\x03\x04", "xlsx")
written("pointer", LFS)
written("pointer_parquet", LFS, "parquet")
written("pickled", b"\x80\x04", "pkl")
written("cut_off", '{"text": ["good', "json")
written("no_table", "5", "json")
written("unequal", '{"text": ["good", "bad"], "label": [1]}', "json")
written("bad_line", '{"text": "good film"}\n{"text": \n', "jsonl")
written("chats", '{"messages": [{"role": "user", "content": "good film"}]}\n', "jsonl")
written("null", '{"text": null}\n{"text": "good film"}\n', "jsonl")
written("numbers", '{"text": 5}\n{"text": 6}\n', "jsonl")
written("no_parquet", b"damaged", "parquet")
