"""`infoprune forecast`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infoprune.cli import cut_options, options, read
from infoprune.cli.console import bars, stdout

if TYPE_CHECKING:
    from infoprune.forecasting.stages import Forecast


def forecast_command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder with the config.json of a model, or its name on the Hub.")
    ],
    samples: options.Samples = 1024,
    max_length: Annotated[
        int,
        typer.Option("--max-length", metavar="N", help="Tokens of every text.", rich_help_panel=options.INPUT),
    ] = 128,
    keep: cut_options.Keep = "0.5",
    structures: cut_options.LayerStructures = None,
    batch_size: options.BatchSize = 32,
    memory: options.Memory = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Forecast the memory and time of a prune from config.json alone; no weights are read."""
    share = read.number("--keep", keep or "0.5", "0.5")
    with bars():
        from infoprune.forecasting.workload import Workload
        from infoprune.jobs.forecast import forecast_folder

        work = Workload(samples, max_length, batch_size or 32, share, read.memory(memory))
        found = forecast_folder(model, work, structures=read.names(structures), device=device)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "peak": found.peak, "seconds": found.seconds}))
        return
    from infoprune.reports.render import human

    console = stdout()
    console.print(_stages(found))
    widest = max(found.sites, key=found.sites.__getitem__)
    whole, passes = human(sum(found.sites.values()), "B"), "one pass" if found.passes == 1 else f"{found.passes} passes"
    lines = (
        f"Model: {human(found.parameters)} parameters, {human(found.bytes, 'B')}. "
        f"A pass over {samples:,} texts: {human(found.forward, 'FLOP')}.",
        f"Statistics: {len(found.sites)} sites, {whole} together, at most {human(found.sites[widest], 'B')} "
        f"({widest}); {passes}.",
        f"Peak: {human(found.peak, 'B')} with the model; about {found.seconds or 0:,.0f} s on this machine.",
    )
    for line in lines:
        console.print(line, soft_wrap=True)


def _stages(found: "Forecast") -> Table:
    from infoprune.reports.render import human

    table = Table()
    for index, name in enumerate(("stage", "memory beyond the model", "model's FLOPs", "float64 FLOPs", "seconds")):
        table.add_column(name, justify="right" if index else "left")
    for name, stage in found.stages.items():
        cells = [human(stage.bytes, "B"), human(stage.flops), human(stage.exact), f"{stage.seconds or 0:,.1f}"]
        table.add_row(name, *cells)
    return table
