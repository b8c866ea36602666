"""`infoprune compare`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infoprune.cli import cut_options, options, read
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import ColumnOptions, RunOptions
from infoprune.errors import InputError

if TYPE_CHECKING:
    from infoprune.jobs.compare import Outlook


def compare_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    *,
    eval_file: options.Eval = None,
    columns: ColumnOptions,
    samples: options.Samples = 1024,
    task: options.TaskName = None,
    structures: cut_options.ComparedStructures = None,
    criteria: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Methods to compare: information, fan2021, magnitude, magnitude-l1, activation, wanda, flap, taylor, "
            "kwon, kprune, slicegpt, leverage, brain-surgeon, random; of experts information, reap, frequency, "
            "magnitude, random. Default: information, magnitude, wanda, flap, kwon, brain-surgeon, random; of experts "
            "information, reap, frequency, random.",
            rich_help_panel=options.STRUCTURES,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE,...", help="Shares of the units to keep, e.g. 0.75,0.5,0.25.", rich_help_panel=options.SIZE
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="COST,...",
            help="What the results may cost, e.g. flops=0.5,flops=0.25.",
            rich_help_panel=options.SIZE,
        ),
    ] = None,
    repair_method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Repair after the cut: ours (the same for all), own (as each was published) or both.",
            rich_help_panel=options.AFTER,
        ),
    ] = "ours",
    seeds: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Number of seeds, from --seed on; each samples other texts.",
            rich_help_panel=options.MACHINE,
        ),
    ] = 1,
    run: RunOptions,
    force: options.Force = False,
) -> None:
    """Prune a model by several methods to several sizes and compare what each loses; an interrupted run resumes."""
    shares = tuple(read.number("--keep", part, "0.5,0.25") for part in read.names(keep) or ())
    if repair_method not in ("ours", "own", "both"):
        raise InputError(
            f"--repair-method is {repair_method!r}, expected ours, own or both; pass e.g. --repair-method both"
        )
    with bars() as advance:
        from infoprune.jobs.compare import compare_folder
        from infoprune.jobs.cut import Sources
        from infoprune.jobs.grid import Grid
        from infoprune.reports.comparison import findings, rows

        budgets = (read.budget(part) for part in read.names(budget) or ())
        cells = compare_folder(
            model,
            out,
            Sources(data, eval_file, columns.columns, samples),
            Grid(
                read.names(criteria),
                shares,
                tuple(each for each in budgets if each is not None),
                ("own", "ours") if repair_method == "both" else (repair_method,),
                seeds,
                run.seed,
                read.names(structures),
            ),
            task=task,
            packing=run.packing,
            device=run.device,
            force=force,
            started=_announce,
            progress=advance,
        )
    console = stdout()
    heading, lines = rows(cells)
    table = Table()
    for name in heading:
        table.add_column(name, justify="left" if name in ("goal", "repair", "criterion") else "right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for sentence in findings(cells):
        console.print(sentence, soft_wrap=True)
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)


def _announce(outlook: "Outlook") -> None:
    left = f", {outlook.found} of them already computed" if outlook.found else ""
    stdout().print(f"{outlook.cells} cells{left}.")
