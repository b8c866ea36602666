"""Pruning times quantisation on the movie reviews: folders, graphs and int8 graphs in one table, in Markdown.

Run: python -m benchmarks.serving
"""

import argparse
from pathlib import Path

from experiments.movie_reviews import dense_folder, splits
from infoprune.cli import main as infoprune
from infoprune.jobs.bench import Benchmark, Judges, Load, bench_models
from infoprune.measuring.measure import Latency
from infoprune.reports.render import human, metric

OUT = Path("runs/serving")
KINDS = {"": "PyTorch", ".onnx": "ONNX", "-int8.onnx": "ONNX, int8"}
SHAPES = ((1, 64), (32, 64))


def main() -> None:
    """Prunes, exports and compares; what is there already is kept."""
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
        for suffix, kind in KINDS.items():
            place = OUT / f"keep-{keep}{suffix}" if suffix else folder
            if not place.exists():
                int8 = ["--int8"] if "int8" in kind else []
                run("export", folder, place, "--data", files["validation"], *int8)
            models[str(place)] = (keep, kind)
    work = Load(batch_sizes=[inputs for inputs, _ in SHAPES], lengths=[SHAPES[0][1]], repeats=options.repeats)
    print_table(bench_models(list(models), work, judges=Judges(files["test"])), models)


def run(*arguments: object) -> None:
    """One command; a failure ends the benchmark."""
    if status := infoprune([str(argument) for argument in arguments]):
        raise SystemExit(status)


def print_table(found: Benchmark, models: dict[str, tuple[str, str]]) -> None:
    times = [name for shape in SHAPES for name in (f"{shape[0]} x {shape[1]} tokens", "speed-up")]
    heading = ["keep", "runs in", "weights", "peak memory", "accuracy", "agreement", "KL (nats)", *times]
    print(f"{found.device}, {found.threads} thread(s), {found.repeats} alternating rounds\n")
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    judged = {row.model: row for row in found.judged}
    for model, (keep, kind) in models.items():
        row = judged[model]
        cells = [keep, kind, size(found.bytes[model]), size(found.peak_memory[model])]
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
