"""`infoprune plan-memory`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infoprune.cli import options
from infoprune.cli.console import bars, stdout

if TYPE_CHECKING:
    from infoprune.forecast import Forecast


def plan_memory_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder with the config.json of a model.")],
    samples: Annotated[int, typer.Option(metavar="N", help="Texts to choose the units by.")] = 1024,
    max_length: Annotated[int, typer.Option("--max-length", metavar="N", help="Tokens of every text.")] = 128,
    batch_size: Annotated[
        int, typer.Option("--batch-size", metavar="N", help="Texts that are computed together; language models 4.")
    ] = 32,
    keep: Annotated[str, typer.Option(metavar="SHARE", help="Share of the units that stays.")] = "0.5",
    sites: Annotated[
        str | None, typer.Option(metavar="KINDS", help="What is cut: some of ffn and heads; by default all.")
    ] = None,
    memory: options.Memory = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Say what memory and time a prune will take, from the config alone: no weight is read, no text computed."""
    share = options.number("--keep", keep, "0.5")
    with bars():
        from infoprune.forecast import Workload
        from infoprune.jobs.plan_memory import forecast_folder

        work = Workload(samples, max_length, batch_size, share, options.memory(memory))
        found = forecast_folder(model, work, kinds=options.names(sites), device=device)
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
