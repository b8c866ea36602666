"""`infoprune bench`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infoprune.cli import options, read
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import ColumnOptions

if TYPE_CHECKING:
    from infoprune.jobs.bench import Benchmark
    from infoprune.measuring.measure import Latency


def bench_command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Folders or names of models, and .onnx files; the first is the reference."
        ),
    ],
    *,
    batch_size: Annotated[
        str,
        typer.Option(
            "--batch-size",
            metavar="N,...",
            help="Inputs per batch; several sizes are timed one by one.",
            rich_help_panel=options.MACHINE,
        ),
    ] = "1,32",
    length: Annotated[
        str,
        typer.Option(
            metavar="N,...", help="Tokens of a text; each with every batch size.", rich_help_panel=options.MACHINE
        ),
    ] = "64",
    repeats: Annotated[
        int, typer.Option(metavar="N", help="Number of alternating runs.", rich_help_panel=options.MACHINE)
    ] = 20,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads that a model may use.", rich_help_panel=options.MACHINE)
    ] = None,
    peak_memory: Annotated[
        bool,
        typer.Option(
            "--peak-memory/--no-peak-memory",
            help="Measure peak memory, in a process for each model.",
            rich_help_panel=options.MACHINE,
        ),
    ] = True,
    eval_file: options.Eval = None,
    columns: ColumnOptions,
    max_length: options.MaxLength = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Time models side by side: folders, dense or pruned, and .onnx files, in alternating runs."""
    work = (read.integers("--batch-size", batch_size), read.integers("--length", length))
    with bars() as advance:
        from infoprune.jobs.bench import EvalTexts, Load, bench_models
        from infoprune.jobs.inputs import Packing

        packing = Packing(max_length=max_length)
        benchmark = bench_models(
            models,
            Load(*work, repeats=repeats, threads=threads, memory=peak_memory),
            eval_texts=None if eval_file is None else EvalTexts(eval_file, columns.columns, packing),
            device=device,
            progress=advance,
        )
    if as_json:
        typer.echo(json.dumps(asdict(benchmark)))
        return
    console = stdout()
    console.print(_times(benchmark))
    console.print(_models(benchmark))


def _times(benchmark: "Benchmark") -> Table:
    rounds = f"medians of {benchmark.repeats} alternating rounds, quartiles in brackets"
    table = Table(title=f"{benchmark.device}, {benchmark.threads} threads, {rounds}")
    for index, name in enumerate(("inputs x tokens", "model", "latency", "inputs/s", "speed-up")):
        table.add_column(name, justify="left" if index < 2 else "right")
    for row in benchmark.timed:
        latency, speedup = _spread(row.latency_ms, 1, " ms"), _spread(row.speedup, 2, "x")
        table.add_row(f"{row.inputs} x {row.tokens}", row.model, latency, f"{row.per_second:,.1f}", speedup)
    return table


def _spread(value: "Latency", digits: int, unit: str) -> str:
    return f"{value.median:.{digits}f}{unit} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def _models(benchmark: "Benchmark") -> Table:
    from infoprune.reports.render import human, metric

    evaluated = {row.model: row for row in benchmark.evaluated}
    metrics = list(benchmark.evaluated[0].metrics) if benchmark.evaluated else []
    compared = any(row.kl is not None for row in benchmark.evaluated)
    headings = [*(name.replace("_", " ") for name in metrics), *(("agreement", "KL (nats)") if compared else ())]
    table = Table()
    for index, name in enumerate(("model", "size", "peak memory", *headings)):
        table.add_column(name, justify="right" if index else "left")
    for model, size in benchmark.bytes.items():
        peak = benchmark.peak_memory[model]
        cells = [human(size, "B"), "" if peak is None else human(peak, "B")]
        if model in evaluated:
            row = evaluated[model]
            cells += [metric(name, row.metrics[name]) for name in metrics]
            if row.agreement is not None and row.kl is not None:
                cells += [f"{100 * row.agreement:.1f} %", f"{row.kl:.4f}"]
        table.add_row(model, *cells)
    return table
