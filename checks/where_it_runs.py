"""Where does a result run? Every tool opens every type of result, and its answers are compared with PyTorch's.

Run: python -m checks.where_it_runs [--write docs/guides/where-does-it-run.md]

A cell says "yes" where the tool does it without infoprune, "import" where `import infoprune` has to come first, and
"no" where it fails. torchao is installed into a folder of its own, since transformers imports it wherever it finds it.
The rows of Optimum and transformers.js come from `python -m checks.onnx_tools`.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

import infoprune
from infoprune.plan import HIDDEN_SIZE_PER_LAYER, VOCABULARY, Plan
from infoprune.structure.embeddings import count_rows
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from tests.tiny_bert import build_tiny_bert, build_tokenizer
from tests.unregistered import plain_transformers

TEXTS = ["a good film", "the plot is dull and poor", "not bad!", "a very great film and a fine plot."]
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
FAR = 1e-3


@dataclass(frozen=True)
class Result:
    """A pruned classifier, as a folder, and its answers in PyTorch."""

    folder: Path
    model: PreTrainedModel
    expected: torch.Tensor


def equal(model: PreTrainedModel) -> PreTrainedModel:
    return cut(model, {site.name: tuple(range(40)) for site in find_sites(model, ["ffn"])})


def different(model: PreTrainedModel) -> PreTrainedModel:
    return cut(model, {site.name: tuple(range(site.layer, site.units - 1)) for site in find_sites(model)})


def without_blocks(model: PreTrainedModel) -> PreTrainedModel:
    return cut(model, {"layers.1.heads": (), "layers.0.ffn": ()})


def narrower(model: PreTrainedModel) -> PreTrainedModel:
    sites = find_sites(model, [HIDDEN_SIZE_PER_LAYER])
    return cut(model, {site.name: tuple(range(28 - 4 * site.layer)) for site in sites}, [HIDDEN_SIZE_PER_LAYER])


def renumbered(model: PreTrainedModel) -> PreTrainedModel:
    """The tiny tokenizer's last tokens are unused, so it need not change."""
    return apply_plan(model, Plan("bert", {VOCABULARY: 100}, {VOCABULARY: tuple(range(90))}, "counts", 0))


def remapped(model: PreTrainedModel) -> PreTrainedModel:
    rows = (*range(80), *range(20))
    return apply_plan(model, Plan("bert", {VOCABULARY: 100}, {VOCABULARY: tuple(range(80))}, "counts", 0, None, rows))


RESULTS: dict[str, Callable[[PreTrainedModel], PreTrainedModel]] = {
    "equal sizes": equal,
    "sizes by layer": different,
    "blocks removed": without_blocks,
    "hidden size per layer": narrower,
    "tokens renumbered": renumbered,
    "tokens remapped": remapped,
}


def cut(
    model: PreTrainedModel, kept: dict[str, tuple[int, ...]], structures: list[str] | None = None
) -> PreTrainedModel:
    units = {site.name: site.units for site in find_sites(model, structures) if site.name in kept}
    return apply_plan(model, Plan(model.config.model_type, units, kept, "random", 0))


def batch() -> dict[str, torch.Tensor]:
    return dict(build_tokenizer()(TEXTS, padding=True, return_tensors="pt"))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch()).logits


def opened(result: Result, **options: object) -> PreTrainedModel:
    return AutoModelForSequenceClassification.from_pretrained(result.folder, **options)


def load(result: Result) -> torch.Tensor:
    return logits(infoprune.load(result.folder))


def auto(result: Result) -> torch.Tensor:
    return logits(opened(result))


def from_config(result: Result) -> torch.Tensor:
    """Sizes are compared, since there are no weights."""
    built = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(result.folder))
    built.load_state_dict(result.model.state_dict())
    return logits(built.eval())


def classify(result: Result) -> torch.Tensor:
    from transformers import pipeline

    found = pipeline("text-classification", model=str(result.folder), top_k=None, function_to_apply="none")(TEXTS)
    return torch.tensor([[each["score"] for each in sorted(row, key=lambda label: label["label"])] for row in found])


def train(result: Result) -> torch.Tensor:
    """A step of size zero, a checkpoint, and its weights."""
    from transformers import Trainer, TrainingArguments

    rows = [{name: row[index] for name, row in batch().items()} | {"labels": index % 2} for index in range(len(TEXTS))]
    with tempfile.TemporaryDirectory() as folder:
        options = {"max_steps": 1, "save_steps": 1, "learning_rate": 0.0, "report_to": [], "use_cpu": True}
        trainer = Trainer(opened(result), TrainingArguments(folder, disable_tqdm=True, **options), train_dataset=rows)
        trainer.train()
        return logits(AutoModelForSequenceClassification.from_pretrained(Path(folder, "checkpoint-1")))


def adapt(result: Result) -> torch.Tensor:
    """LoRA whose second factor is zero: trained, saved, loaded and merged."""
    from peft import LoraConfig, PeftModel, get_peft_model

    with tempfile.TemporaryDirectory() as folder:
        adapted = get_peft_model(opened(result), LoraConfig(target_modules=["query", "value"], r=2))
        adapted(**batch(), labels=torch.tensor([0, 1, 0, 1])).loss.backward()
        adapted.save_pretrained(folder)
        return logits(PeftModel.from_pretrained(opened(result), folder).merge_and_unload().eval())


def embed(result: Result) -> torch.Tensor:
    """Pairs of texts, by a cross-encoder; their difference from PyTorch is added to the answers of single texts."""
    from sentence_transformers import CrossEncoder

    pairs = [(text, TEXTS[0]) for text in TEXTS]
    found = CrossEncoder(str(result.folder), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    both = build_tokenizer()(TEXTS, [TEXTS[0]] * len(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        return result.expected + torch.tensor(found) - result.model(**both).logits


def offload(result: Result) -> torch.Tensor:
    """Accelerate keeps the first layer on disk."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"bert.embeddings": "cpu", "bert.encoder.layer.0": "disk", "bert.encoder.layer.1": "cpu"}
        places |= {"bert.pooler": "cpu", "dropout": "cpu", "classifier": "cpu"}
        return logits(opened(result, device_map=places, offload_folder=folder))


def compiled(result: Result) -> torch.Tensor:
    return logits(torch.compile(opened(result), backend="aot_eager"))


QUANTISE = """
import sys, torch
{imports}
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers import AutoModelForSequenceClassification
model, batch = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]), torch.load(sys.argv[2])
full = lambda module, _: isinstance(module, torch.nn.Linear) and module.weight.numel() > 0
with torch.no_grad():
    before = model(**batch).logits
    quantize_(model, Int8WeightOnlyConfig(), full)
    after = model(**batch).logits
assert 0 < (after - before).abs().max() < 0.05 * before.abs().max()
torch.save(before, sys.argv[3])
"""


def quantise(result: Result) -> torch.Tensor:
    """torchao after loading: 8-bit weights but of empty matrices; their rounding is checked within."""
    code = QUANTISE.format(imports="import infoprune" if "infoprune" in AUTO_QUANTIZER_MAPPING else "")
    with tempfile.TemporaryDirectory() as folder:
        torch.save(batch(), Path(folder, "batch"))
        call = [sys.executable, "-c", code, result.folder, Path(folder, "batch"), Path(folder, "logits")]
        done = subprocess.run(call, env=with_torchao(), capture_output=True)
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-500:])
        return torch.load(Path(folder, "logits"))


def with_torchao() -> dict[str, str]:
    folder = Path(tempfile.gettempdir()) / "infoprune-torchao"
    if not folder.is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, "torchao"]
        subprocess.run(install, check=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), "src"])}


def onnx(result: Result) -> torch.Tensor:
    from infoprune.serving.onnx_model import OnnxModel

    with tempfile.TemporaryDirectory() as folder:
        infoprune.export(infoprune.load(result.folder), Path(folder, "model.onnx"), [batch()])
        return OnnxModel(Path(folder, "model.onnx"))(**batch())["logits"]


def openvino(result: Result) -> torch.Tensor:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        infoprune.export(infoprune.load(result.folder), Path(folder, "model.onnx"), [batch()])
        run = openvino.compile_model(Path(folder, "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return torch.from_numpy(run({name: each.numpy() for name, each in batch().items()})["logits"])


TOOLS: dict[str, Callable[[Result], torch.Tensor]] = {
    "`infoprune.load`": load,
    "transformers: `AutoModel...from_pretrained`": auto,
    "transformers: `AutoModel...from_config`": from_config,
    "transformers: `pipeline`": classify,
    "transformers: `Trainer`, its checkpoints": train,
    "peft: LoRA trained, saved, loaded, merged": adapt,
    "sentence-transformers": embed,
    "accelerate: `device_map` with weights on disk": offload,
    "`torch.compile`": compiled,
    "torchao: 8 bits after loading": quantise,
    "ONNX Runtime, after `infoprune export`": onnx,
    "OpenVINO, after `infoprune export`": openvino,
}
OWN = ("`infoprune.load`", "ONNX Runtime, after `infoprune export`", "OpenVINO, after `infoprune export`")
"""Rows of which infoprune is a part."""


def tried(tool: Callable[[Result], torch.Tensor], result: Result) -> str | None:
    """Return None where the answers are PyTorch's, or what went wrong."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            found = tool(result)
        except Exception as error:
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    off = float((found - result.expected).abs().max() / result.expected.abs().max())
    return None if off < FAR else f"differs by {off:.2g}"


def cell(name: str, result: Result) -> str:
    tool = TOOLS[name]
    if name not in OWN:
        with plain_transformers():
            if tried(tool, result) is None:
                return "yes"
    failure = tried(tool, result)
    if failure is not None:
        print(f"{name}, {result.folder.name}: {failure}", file=sys.stderr)
        return "no"
    return "yes" if name in OWN else "import"


def table(folder: Path) -> str:
    dense = build_tiny_bert()
    lines = [("tool", *RESULTS), ("---",) * (1 + len(RESULTS))]
    results = []
    for number, make in enumerate(RESULTS.values()):
        small = make(dense)
        out = folder / f"{number}"
        infoprune.save(small, out, build_tokenizer())
        assert count_rows(small) <= 100
        results.append(Result(out, small, logits(small)))
    lines += [(name, *(cell(name, result) for result in results)) for name in TOOLS]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = table(Path(folder))
    print(made)
    if options.write:
        text = options.write.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        options.write.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
