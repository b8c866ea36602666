"""`infoprune evaluate`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import RunOptions, TextOptions


def evaluate_command(
    model: options.Model,
    data: options.Data,
    *,
    texts: TextOptions,
    task: options.TaskName = None,
    against: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the model to compare with, such as the dense one.")
    ] = None,
    how: RunOptions,
    as_json: options.AsJson = False,
) -> None:
    """Score a dense or pruned model on texts, or compare it with another."""
    with bars() as advance:
        from infoprune.jobs.evaluate import evaluate_folder

        scores = evaluate_folder(
            model,
            data,
            against=against,
            task=task,
            columns=texts.columns,
            packing=how.packing,
            seed=how.seed,
            device=how.device,
            progress=lambda done, of: advance("evaluate", done, of),
        )
    if as_json:
        typer.echo(json.dumps(asdict(scores)))
        return
    from infoprune.reports.render import metrics_table

    stdout().print(metrics_table(scores.metrics, title=f"{scores.inputs:,} texts, {scores.parameters:,} parameters"))
