"""Cost of pruning: time as a multiple of one dense forward pass over the same texts, and peak memory.

Run: python -m benchmarks.cost [--case base] [--samples 64] [--layers 3] [--effort quick] [--device cuda]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from experiments.movie_reviews import calibration, dense_model
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import EFFORTS, Effort, Settings

GIGABYTE = 10**9
PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Case:
    """A model, its texts and the size of the result.

    Args:
        make: Makes the model, from a number of layers that replaces its own, or None.
        samples: Number of texts.
        length: Tokens of a text; 0 for real texts of their own lengths.
        size: Arguments of `prune` that give the size.
        batch: Texts in a batch.
        memory: Bytes that the process may take.
    """

    make: Callable[[int | None], PreTrainedModel]
    samples: int
    length: int
    size: dict[str, float | str]
    batch: int = 32
    memory: int | None = None


def encoder(hidden_size, layers, heads, classes):
    def make(other: int | None) -> PreTrainedModel:
        config = BertConfig(
            hidden_size=hidden_size,
            num_hidden_layers=other or layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden_size,
            num_labels=classes,
        )
        return BertForSequenceClassification(config)

    return make


def qwen2(dtype):
    def make(other: int | None) -> PreTrainedModel:
        config = Qwen2Config(
            hidden_size=896,
            num_hidden_layers=other or 24,
            num_attention_heads=14,
            num_key_value_heads=2,
            intermediate_size=4864,
            tie_word_embeddings=True,
        )
        return in_precision(dtype, lambda: Qwen2ForCausalLM(config))

    return make


def llama(other: int | None) -> PreTrainedModel:
    config = LlamaConfig(
        hidden_size=2048,
        num_hidden_layers=other or 20,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=8192,
        vocab_size=128256,
        tie_word_embeddings=True,
    )
    return in_precision(torch.bfloat16, lambda: LlamaForCausalLM(config))


def in_precision(dtype, make):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return make()
    finally:
        torch.set_default_dtype(before)


CASES = {
    "small": Case(encoder(256, 2, 4, 2), 128, 64, {"keep": 0.5}),
    "reviews": Case(lambda _: dense_model()[0], 1024, 0, {"keep": 0.25}),
    "classes": Case(encoder(384, 6, 12, 8), 1024, 96, {"budget": "flops=0.25"}),
    "base": Case(encoder(768, 12, 12, 2), 512, 128, {"budget": "flops=0.5"}),
    "494m": Case(qwen2(torch.float32), 64, 256, {"budget": "flops=0.5"}, 4, 6 * GIGABYTE),
    "494m-bfloat16": Case(qwen2(torch.bfloat16), 64, 256, {"budget": "flops=0.5"}, 4, 4 * GIGABYTE),
    "1.5b-bfloat16": Case(llama, 32, 256, {"budget": "flops=0.5"}, 4, 12 * GIGABYTE),
}


def resident(*, peak: bool) -> int:
    """Return the resident bytes of this process now, or at its peak."""
    word = "VmHWM:" if peak else "VmRSS:"
    (line,) = (line for line in (PROCESS / "status").read_text().splitlines() if line.startswith(word))
    return 1024 * int(line.split()[1])


def finished(device: torch.device) -> float:
    """Return the time once a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_of(device: torch.device) -> int:
    """Return the bytes at the peak since the last call of `reset_peak`: of main memory, or allocated on a GPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident(peak=True)


def reset_peak(device: torch.device) -> None:
    """Begin to look for the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        (PROCESS / "clear_refs").write_text("5")  # Linux


def inputs(case, model, samples):
    samples = samples or case.samples
    if case.length == 0:
        return calibration(dense_model()[1], 0, samples)
    torch.manual_seed(1)
    found = []
    for start in range(0, samples, case.batch):
        ids = torch.randint(0, model.config.vocab_size, (min(case.batch, samples - start), case.length))
        found.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return found


def measured(
    name: str, samples: int | None, layers: int | None, memory: int | None, effort: Effort, device: torch.device
) -> dict[str, Any]:
    """Prune in this process; return the seconds of a pass and of every stage, and the peak of every stage in bytes."""
    case = CASES[name]
    torch.manual_seed(0)
    model = case.make(layers).eval().to(device)
    texts = [{key: each.to(device) for key, each in batch.items()} for batch in inputs(case, model, samples)]

    def forward() -> float:
        started = finished(device)
        with torch.inference_mode():
            for batch in texts:
                (model.base_model if case.length else model)(**batch)
        return finished(device) - started

    forward()
    passes = [forward() for _ in range(2)]
    peaks: dict[str, int] = {}

    def note_peak(stage: str, _done: int, _of: int) -> None:
        peaks[stage] = max(peaks.get(stage, 0), peak_of(device))
        reset_peak(device)

    reset_peak(device)
    settings = Settings(memory=memory or case.memory, effort=effort)
    seconds = prune(model, texts, **case.size, settings=settings, progress=note_peak).report.seconds
    passes += [forward() for _ in range(2)]
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    return {"pass": statistics.median(passes), "model": weights, "peaks": peaks, **seconds}


def in_own_process(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Return what `measured` does, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cost", "--here", "--case", name, *options]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main() -> None:
    """Time the pruning and a forward pass of every case, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, action="append", help="some cases only")
    parser.add_argument("--samples", type=int, help="number of texts instead of the case's own")
    parser.add_argument("--layers", type=int, help="number of layers instead of the case's own")
    parser.add_argument("--memory", type=int, help="bytes, as `prune --memory`")
    parser.add_argument("--effort", choices=EFFORTS, default="normal", help="as `prune --effort`")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        how = options.samples, options.layers, options.memory, options.effort, torch.device(options.device)
        print(json.dumps(measured(options.case[0], *how)))
        return
    where = options.device if options.device != "cpu" else f"{torch.get_num_threads()} threads"
    table = Table(title=f"seconds and, in brackets, dense forward passes; {where}")
    headings = ("case", "a pass", "collect", "rank", "repair", "all", "model", "peak")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "case" else "right")
    given = [(name, getattr(options, name)) for name in ("samples", "layers", "memory", "effort", "device")]
    more = [word for name, value in given if value is not None for word in (f"--{name}", str(value))]
    for name in options.case or [name for name in CASES if name != "small"]:
        found = in_own_process(name, more)
        one = found["pass"]
        stages = [f"{found[each]:.1f} ({found[each] / one:.1f})" for each in ("collect", "rank", "repair", "total")]
        stage, peak = max(found["peaks"].items(), key=lambda each: each[1])
        table.add_row(
            name,
            f"{one:.1f}",
            *stages,
            f"{found['model'] / GIGABYTE:.2f} GB",
            f"{peak / GIGABYTE:.2f} GB ({stage})",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
