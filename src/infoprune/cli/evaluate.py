"""`infoprune evaluate`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import ColumnOptions, RunOptions


def evaluate_command(
    model: options.Model,
    eval_file: options.NeededEval,
    *,
    columns: ColumnOptions,
    task: options.TaskName = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Folder or name of the original model to compare with.", rich_help_panel=options.INPUT
        ),
    ] = None,
    run: RunOptions,
    as_json: options.AsJson = False,
) -> None:
    """Score a dense or pruned model on texts, pictures or clips, or compare it with another."""
    with bars() as advance:
        from infoprune.jobs.evaluate import evaluate_folder

        scores = evaluate_folder(
            model,
            eval_file,
            against=against,
            task=task,
            columns=columns.columns,
            packing=run.packing,
            seed=run.seed,
            device=run.device,
            progress=advance,
        )
    if as_json:
        typer.echo(json.dumps(asdict(scores)))
        return
    from infoprune.reports.render import metrics_table

    title = f"{scores.inputs:,} {scores.reads}, {scores.parameters:,} parameters"
    other = ("against", scores.against) if against is not None and scores.against else None
    stdout().print(metrics_table(scores.metrics, title=title, against=other))
