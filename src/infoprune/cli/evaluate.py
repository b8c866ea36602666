"""`infoprune evaluate`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout


def evaluate_command(
    model: options.Model,
    data: options.Data,
    text: options.Text = None,
    text_pair: options.TextPair = None,
    label: options.Label = None,
    task: options.TaskName = None,
    against: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the model to compare with, such as the dense one.")
    ] = None,
    seed: options.Seed = 0,
    max_length: options.MaxLength = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Score a dense or pruned model on texts, or compare it with another."""
    with bars() as advance:
        from infoprune.jobs.evaluate import evaluate_folder
        from infoprune.jobs.inputs import Columns, Packing

        scores = evaluate_folder(
            model,
            data,
            against=against,
            task=task,
            columns=Columns(text, text_pair, label),
            packing=Packing(batch_size, max_length),
            seed=seed,
            device=device,
            progress=lambda done, of: advance("evaluate", done, of),
        )
    if as_json:
        typer.echo(json.dumps(asdict(scores)))
        return
    from infoprune.reports.render import metrics_table

    stdout().print(metrics_table(scores.metrics, title=f"{scores.inputs:,} texts, {scores.parameters:,} parameters"))
