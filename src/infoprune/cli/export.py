"""`infoprune export`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infoprune.cli import options
from infoprune.cli.console import bars, stdout

if TYPE_CHECKING:
    from infoprune.serving.export import Exported


def export_command(
    model: options.Model,
    out: Annotated[
        str, typer.Argument(metavar="OUT.onnx", help="New file for the graph; it is written completely or not at all.")
    ],
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise weights and activations to 8 bits.", rich_help_panel=options.OUTPUT)
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Texts to calibrate and to compare the graph with MODEL on; a few are built in.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    text: options.Text = None,
    text_pair: options.TextPair = None,
    samples: options.Samples = 256,
    max_length: options.MaxLength = None,
    batch_size: options.BatchSize = 4,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT.onnx if it exists.", rich_help_panel=options.OUTPUT)
    ] = False,
) -> None:
    """Write a model as ONNX, for batches of any size and length, and compare it with PyTorch."""
    with bars() as advance:
        from infoprune.jobs.export import export_folder
        from infoprune.jobs.inputs import Columns, Packing

        advance("export", 0, 1)
        exported = export_folder(
            model,
            out,
            data=data,
            columns=Columns(text, text_pair),
            packing=Packing(batch_size, max_length),
            samples=samples,
            int8=int8,
            seed=seed,
            force=force,
        )
        advance("export", 1, 1)
    if as_json:
        typer.echo(json.dumps(asdict(exported)))
        return
    console = stdout()
    console.print(_table(exported))
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)


def _table(exported: "Exported") -> Table:
    from infoprune.reports.render import human, metric

    table = Table("", "value", title=f"{'int8' if exported.int8 else 'float32'} graph compared with PyTorch in float32")
    shapes = ", ".join(f"{rows} x {length}" for rows, length in exported.shapes[:6])
    more = ", ..." if len(exported.shapes) > 6 else ""
    table.add_row("compared on", f"{exported.inputs:,} texts; texts x tokens: {shapes}{more}")
    table.add_row("largest difference", f"{exported.difference:.2g} (outputs up to {exported.scale:.3g})")
    if exported.agreement is not None:  # of embeddings, which have no divergence, it is the mean cosine
        name = "cosine" if exported.kl is None else "agreement"
        table.add_row(name, metric(name, exported.agreement))
    if exported.kl is not None:
        table.add_row("KL (nats)", f"{exported.kl:.4f}")
    table.add_row("size", human(exported.bytes, "B"))
    return table
