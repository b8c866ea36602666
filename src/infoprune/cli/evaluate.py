"""`infoprune evaluate`."""

import json
from dataclasses import asdict

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout


def evaluate_command(
    model: options.Model,
    data: options.Data,
    text: options.Text = None,
    text_pair: options.TextPair = None,
    label: options.Label = None,
    max_length: options.MaxLength = None,
    batch_size: options.BatchSize = 32,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Score a dense or pruned classifier on labelled texts."""
    with bars() as advance:
        from infoprune.jobs.evaluate import evaluate_folder
        from infoprune.jobs.inputs import Columns, Packing

        scores = evaluate_folder(
            model,
            data,
            columns=Columns(text, text_pair, label),
            packing=Packing(batch_size, max_length),
            device=device,
            progress=lambda done, of: advance("evaluate", done, of),
        )
    if as_json:
        typer.echo(json.dumps(asdict(scores)))
        return
    from infoprune.render import metrics_table

    stdout().print(metrics_table(scores.metrics, title=f"{scores.inputs:,} texts, {scores.parameters:,} parameters"))
