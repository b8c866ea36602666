"""The demo: fine-tune a real classifier, prune it to a half and to a quarter, measure the loss. Run: make demo."""

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import infoprune as ip
from experiments.curves import plot
from experiments.movie_reviews import TASK, calibration, dense_folder, dense_model, labelled
from experiments.task import CACHE
from infoprune.measuring.measure import Latency, count_flops, count_parameters, example_batch, measure_latency
from infoprune.ranking.criteria import criterion_named
from infoprune.tasks.evaluate import agreement, evaluate, mean_kl

OUT = Path("runs/demo")
KEEPS = (0.5, 0.25)
SAMPLES = 512
"""Calibration texts: half of the usual number, so that all is done in some minutes."""
console = Console()


def main() -> None:
    """Fine-tune (cached), prune, print one table and write a picture."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        if not (CACHE / TASK.name / "dense").is_dir():
            console.print("Fine-tuning MiniLM on movie reviews: a few minutes, once.")
            task = bars.add_task("fine-tune", total=None)
            dense_folder(lambda done, of: bars.update(task, completed=done, total=of))
        model, tokenizer = dense_model()
        texts = calibration(tokenizer, seed=0, samples=SAMPLES)
        test = labelled(tokenizer, model, "test")
        dense = evaluate(model, test)

        task = bars.add_task("collect statistics", total=None)
        statistics = ip.collect(model, texts, progress=lambda done, of: bars.update(task, completed=done, total=of))
        rankings = {name: ip.rank(statistics, criterion_named(name)) for name in ("information", "magnitude")}
        task = bars.add_task("prune, repair, evaluate", total=len(rankings) * len(KEEPS))
        cut, curves = {}, {}
        whole = count_flops(model, example_batch(model.config))
        for name, ranking in rankings.items():
            curves[name] = [(1.0, *[dense.metrics["accuracy"]] * 3)]
            for keep in KEEPS:
                plan = ip.allocate(ranking, ip.Keep(keep))
                small = ip.repair(ip.apply_plan(model, plan, statistics), model, texts, statistics=statistics)
                answers = evaluate(small, test)
                accuracy = answers.metrics["accuracy"]
                flops = count_flops(small, example_batch(model.config))
                curves[name].append((flops / whole, accuracy, accuracy, accuracy))
                if name == "information":
                    cut[keep] = (small, answers)
                bars.advance(task)
    for keep, (small, _) in cut.items():
        ip.save(small, OUT / f"keep-{keep:g}", tokenizer, force=True)
    console.print(table(model, dense, cut))
    plot(curves, dense.metrics["accuracy"], OUT / "accuracy.png", title="MiniLM on movie reviews, no training")
    console.print(f"Models: {', '.join(str(OUT / f'keep-{keep:g}') for keep in cut)}; picture: {OUT / 'accuracy.png'}")
    console.print(f'Load one: import infoprune; model = infoprune.load("{OUT / "keep-0.25"}")')
    console.print("Go on with", *further(), sep="\n  ", soft_wrap=True)


def further() -> tuple[str, ...]:
    """Return commands to go on with: a budget of your own, a comparison with the dense model, a graph to serve."""
    splits = TASK.splits()
    dense, train, test = (os.path.relpath(path) for path in (dense_folder(), splits["train"], splits["test"]))
    return (
        f".venv/bin/infoprune prune {dense} runs/smaller --data {train} --budget flops=0.4",
        f".venv/bin/infoprune evaluate runs/smaller --eval {test} --against {dense}",
        ".venv/bin/infoprune export runs/smaller",
    )


def table(model: object, dense: object, cut: dict) -> Table:
    """Return one table with the dense and the pruned models side by side."""
    models = [model, *(small for small, _ in cut.values())]
    batch = example_batch(model.config)
    latencies: list[Latency] = measure_latency(models, batch)
    flops = [count_flops(each, batch) for each in models]
    logits = [dense.logits, *(answers.logits for _, answers in cut.values())]
    rows = Table(title="Movie reviews, test split; no training after the cut")
    rows.add_column("")
    for name in ["dense", *(f"keep {keep:g}" for keep in cut)]:
        rows.add_column(name, justify="right")
    rows.add_row("parameters (M)", *(f"{count_parameters(each) / 1e6:.2f}" for each in models))
    rows.add_row("GFLOPs, 32 x 64 tokens", *(f"{n / 1e9:.1f}" for n in flops))
    rows.add_row("latency (ms)", *(f"{latency.median:.0f}" for latency in latencies))
    rows.add_row("speed-up", *(f"{latencies[0].median / latency.median:.2f}x" for latency in latencies))
    accuracy = [dense.metrics["accuracy"], *(answers.metrics["accuracy"] for _, answers in cut.values())]
    rows.add_row("accuracy", *(f"{value:.2%}" for value in accuracy))
    rows.add_row("agreement with dense", *(f"{agreement(logits[0], each):.2%}" for each in logits))
    rows.add_row("KL (nats)", *(f"{mean_kl(logits[0], each):.4f}" for each in logits))
    return rows


if __name__ == "__main__":
    main()
