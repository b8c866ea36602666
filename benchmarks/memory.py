"""Forecast and measured memory and time of every stage, on models with the shapes of real ones.

Run: python -m benchmarks.memory [--model MiniLM] [--length 32] [--samples 16]
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
)

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Keep
from infoprune.forecasting.forecast import forecast
from infoprune.forecasting.workload import Workload
from infoprune.measuring.measure import example_batch
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import rank
from infoprune.repairing.augmentation import with_augmentations
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

PROCESS = Path("/proc/self")
# sizes from their config.json files
MODELS = {
    "MiniLM": (
        BertForSequenceClassification,
        BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
        32,
        256,
    ),
    "SmolLM2": (
        LlamaForCausalLM,
        LlamaConfig(
            hidden_size=576,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            intermediate_size=1536,
            vocab_size=49152,
            tie_word_embeddings=True,
        ),
        4,
        64,
    ),
    # these settled none of the forecast's settings
    "BERT-base": (
        BertForSequenceClassification,
        BertConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072),
        32,
        64,
    ),
    "Marian": (
        MarianMTModel,
        MarianConfig(
            vocab_size=32000,
            pad_token_id=0,
            decoder_start_token_id=0,
            d_model=512,
            encoder_layers=6,
            decoder_layers=6,
            encoder_attention_heads=8,
            decoder_attention_heads=8,
            encoder_ffn_dim=2048,
            decoder_ffn_dim=2048,
        ),
        16,
        64,
    ),
}


def resident(peak):
    """Return the resident bytes of this process now, or at the peak since the last reset."""
    word = "VmHWM:" if peak else "VmRSS:"
    (line,) = (line for line in (PROCESS / "status").read_text().splitlines() if line.startswith(word))
    return 1024 * int(line.split()[1])


def busy_seconds():
    """Return the processor time of all threads divided by their number: the time on an idle machine."""
    return time.process_time() / torch.get_num_threads()


def measured(work):
    """Return (result, peak bytes beyond those at the start, seconds)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc: the next stage would reuse freed memory without growth
    (PROCESS / "clear_refs").write_text("5")  # Linux: resets the peak
    before, started = resident(peak=False), busy_seconds()
    result = work()
    return result, resident(peak=True) - before, busy_seconds() - started


def cut(model, statistics):
    return apply_plan(model, allocate(rank(statistics, ChannelInformation()), Keep(0.5)), statistics)


def repaired(small, model, batches, statistics):
    """Repair as `prune` does: in place, with augmented inputs where there are few."""
    texts, statistics = with_augmentations(model, batches, statistics, sites=find_sites(model))
    return repair(small, model, texts, statistics=statistics, own=len(batches), in_place=True)


def stages(name, samples, length):
    """Measure the stages of a cut in this process; ranking holds the statistics, the repair only the importance."""
    model_class, config, size, _ = MODELS[name]
    torch.manual_seed(0)
    model = model_class(config).eval()
    batches = []
    for start in range(0, samples, size):
        batch = example_batch(config, min(size, samples - start), length)
        ids = torch.randint(0, config.vocab_size, batch["input_ids"].shape)
        batches.append({**batch, "input_ids": ids})
    collect(model, batches[:1])  # allocates what libraries allocate once
    found = {}
    statistics, held, seconds = measured(lambda: collect(model, batches))
    found["collect"] = (held, seconds)
    kept = sum(
        t.numel() * 8 for s in statistics.sites.values() for t in (s.tokens.triangle, s.importance.triangle, s.fisher)
    )
    small, held, seconds = measured(partial(cut, model, statistics))
    found["rank"] = (held + kept, seconds)
    importance = statistics.for_repair()
    del statistics
    small_bytes = sum(p.numel() * p.element_size() for p in small.parameters())
    _, held, seconds = measured(partial(repaired, small, model, batches, importance))
    found["repair"] = (held + small_bytes, seconds)
    return found


def main() -> None:
    """Print forecast and measurement side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, help="one model only")
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--samples", type=int, help="texts; by default the number of each model")
    parser.add_argument("--only", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(stages(options.only, options.samples, options.length)))
        return
    table = Table(title=f"texts of {options.length} tokens, keep 1/2, {torch.get_num_threads()} threads")
    for index, heading in enumerate(
        ("model", "stage", "forecast", "measured", "ratio", "forecast", "measured", "ratio")
    ):
        table.add_column(heading, justify="left" if index < 2 else "right")
    for name, (model_class, config, size, samples) in MODELS.items():
        if options.model not in (None, name):
            continue
        samples = options.samples or samples
        sized = ["--samples", str(samples), "--length", str(options.length), "--only", name]
        command = [sys.executable, "-m", "benchmarks.memory", *sized]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        with torch.device("meta"):
            model = model_class(config)
        work = Workload(samples, options.length, size)
        expected = forecast(model, work, device=torch.device("cpu"))
        weights = expected.bytes
        for stage, (held, seconds) in found.items():
            predicted = expected.stages[stage]
            table.add_row(
                f"{name}, {samples} texts",
                stage,
                f"{predicted.bytes / 1e6:,.0f} MB",
                f"{held / 1e6:,.0f} MB",
                f"{predicted.bytes / held:.2f}",
                f"{predicted.seconds:.1f} s",
                f"{seconds:.1f} s",
                f"{predicted.seconds / seconds:.2f}",
            )
        most = weights + max(held for held, _ in found.values())
        spent = sum(seconds for _, seconds in found.values())
        table.add_row(
            name,
            "all, with the model",
            f"{expected.peak / 1e6:,.0f} MB",
            f"{most / 1e6:,.0f} MB",
            f"{expected.peak / most:.2f}",
            f"{expected.seconds:.1f} s",
            f"{spent:.1f} s",
            f"{expected.seconds / spent:.2f}",
            end_section=True,
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
