"""Pruning combined with quantisation on movie reviews: folders, graphs and int8 graphs in one Markdown table.

Run: python -m benchmarks.serving
"""

import argparse
from pathlib import Path

from experiments.movie_reviews import dense_folder, splits
from infoprune.cli import main as infoprune
from infoprune.jobs.bench import Benchmark, EvalTexts, Load, bench_models
from infoprune.measuring.measure import Latency
from infoprune.reports.render import human, metric

OUT = Path("runs/serving")
FORMATS = {"": "PyTorch", ".onnx": "ONNX", "-int8.onnx": "ONNX, int8"}
SHAPES = ((1, 64), (32, 64))


def main() -> None:
    """Prune, export and compare; existing files are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    files = splits()
    folders = {"all": dense_folder()}
    for keep in options.keeps:
        folders[f"{keep:g}"] = folder = OUT / f"keep-{keep:g}"
        if not folder.is_dir():
            run("prune", folders["all"], folder, "--data", files["train"], "--keep", keep)
    models = {}
    for keep, folder in folders.items():
        for suffix, form in FORMATS.items():
            path = OUT / f"keep-{keep}{suffix}" if suffix else folder
            if not path.exists():
                int8 = ["--int8"] if "int8" in form else []
                run("export", folder, path, "--data", files["validation"], *int8)
            models[str(path)] = (keep, form)
    work = Load(batch_sizes=[inputs for inputs, _ in SHAPES], lengths=[SHAPES[0][1]], repeats=options.repeats)
    print_table(bench_models(list(models), work, eval_texts=EvalTexts(files["test"])), models)


def run(*arguments: object) -> None:
    """Run one command; a failure ends the benchmark."""
    if status := infoprune([str(argument) for argument in arguments]):
        raise SystemExit(status)


def print_table(found: Benchmark, models: dict[str, tuple[str, str]]) -> None:
    times = [name for shape in SHAPES for name in (f"{shape[0]} x {shape[1]} tokens", "speed-up")]
    heading = ["keep", "format", "weights", "peak memory", "accuracy", "agreement", "KL (nats)", *times]
    print(f"{found.device}, {found.threads} thread(s), {found.repeats} alternating rounds\n")
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    scored = {row.model: row for row in found.scored}
    for model, (keep, form) in models.items():
        row = scored[model]
        cells = [keep, form, size(found.bytes[model]), size(found.peak_memory[model])]
        cells += [metric("accuracy", row.metrics["accuracy"]), metric("agreement", row.agreement), f"{row.kl:.4f}"]
        for shape in SHAPES:
            (timed,) = (each for each in found.timed if (each.model, each.inputs, each.tokens) == (model, *shape))
            cells += [spread(timed.latency_ms, "{:.0f}", " ms"), spread(timed.speedup, "{:.2f}", "x")]
        print(f"| {' | '.join(cells)} |")


def spread(value: Latency, form: str, unit: str) -> str:
    median, low, high = (form.format(each) for each in (value.median, value.low, value.high))
    return f"{median}{unit} ({low} to {high})"


def size(number: int | None) -> str:
    return "" if number is None else human(number, "B")


if __name__ == "__main__":
    main()
