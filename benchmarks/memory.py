"""Memory and time of every stage as forecast, beside those that are measured, on models of the shapes of real ones.

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
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Keep
from infoprune.forecast import Workload, forecast
from infoprune.measuring.measure import example_batch
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import rank
from infoprune.repair.repair import repair
from infoprune.statistics.collect import collect
from infoprune.surgery import prune

PROCESS = Path("/proc/self")
# as their config.json files say
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
}


def resident(peak):
    """Bytes of this process now, or at the peak since `reset`."""
    word = "VmHWM:" if peak else "VmRSS:"
    (line,) = (line for line in (PROCESS / "status").read_text().splitlines() if line.startswith(word))
    return 1024 * int(line.split()[1])


def busy_seconds():
    """Of all threads together, divided among them: the time that this takes where nothing else runs."""
    return time.process_time() / torch.get_num_threads()


def measured(work):
    """(result, bytes beyond what was there, seconds)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc: what was freed would serve the next stage unseen
    (PROCESS / "clear_refs").write_text("5")  # Linux: the peak begins anew
    before, started = resident(peak=False), busy_seconds()
    result = work()
    return result, resident(peak=True) - before, busy_seconds() - started


def cut(model, statistics):
    return prune(model, allocate(rank(statistics, ChannelInformation()), Keep(0.5)), statistics)


def stages(name, samples, length):
    """Measures the stages of a cut in this process; the statistics stay for ranking and go for the repair."""
    kind, config, size, _ = MODELS[name]
    torch.manual_seed(0)
    model = kind(config).eval()
    batches = []
    for start in range(0, samples, size):
        batch = example_batch(config, min(size, samples - start), length)
        ids = torch.randint(0, config.vocab_size, batch["input_ids"].shape)
        batches.append({**batch, "input_ids": ids})
    collect(model, batches[:1])  # what libraries allocate once
    found = {}
    statistics, held, seconds = measured(lambda: collect(model, batches))
    found["collect"] = (held, seconds)
    kept = sum(
        t.numel() * 8 for s in statistics.sites.values() for t in (s.tokens.triangle, s.worth.triangle, s.demand)
    )
    small, held, seconds = measured(partial(cut, model, statistics))
    found["rank"] = (held + kept, seconds)
    worth = statistics.worth_alone()
    del statistics
    small_bytes = sum(p.numel() * p.element_size() for p in small.parameters())
    _, held, seconds = measured(lambda: repair(small, model, batches, statistics=worth))
    found["repair"] = (held + small_bytes, seconds)
    return found


def main() -> None:
    """Prints forecast and measurement side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, help="one of them alone")
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--samples", type=int, help="texts; by default as many as each model's own number")
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
    for name, (kind, config, size, samples) in MODELS.items():
        if options.model not in (None, name):
            continue
        samples = options.samples or samples
        sized = ["--samples", str(samples), "--length", str(options.length), "--only", name]
        command = [sys.executable, "-m", "benchmarks.memory", *sized]
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        with torch.device("meta"):
            model = kind(config)
        work = Workload(samples, options.length, size)
        expected = forecast(model, work, device=torch.device("cpu"))
        weights = expected.bytes
        for stage, (held, seconds) in said.items():
            thought = expected.stages[stage]
            table.add_row(
                f"{name}, {samples} texts",
                stage,
                f"{thought.bytes / 1e6:,.0f} MB",
                f"{held / 1e6:,.0f} MB",
                f"{thought.bytes / held:.2f}",
                f"{thought.seconds:.1f} s",
                f"{seconds:.1f} s",
                f"{thought.seconds / seconds:.2f}",
            )
        most = weights + max(held for held, _ in said.values())
        spent = sum(seconds for _, seconds in said.values())
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
