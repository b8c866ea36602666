"""`infoprune compare`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import RunOptions, TextOptions
from infoprune.errors import InputError

if TYPE_CHECKING:
    from infoprune.jobs.compare import Outlook


def compare_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    texts: TextOptions,
    run: RunOptions,
    criteria: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Methods: information, fan2021, magnitude, magnitude-l1, activation, wanda, flap, taylor, kwon, "
            "kprune, slicegpt, leverage, brain-surgeon, random.",
        ),
    ],
    eval_file: options.Eval = None,
    task: options.TaskName = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="SHARE,...", help="Shares of the neurons and heads that stay, e.g. 0.75,0.5,0.25."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="COST,...", help="What the results may cost, e.g. flops=0.5,flops=0.25, divided by each."),
    ] = None,
    repair: Annotated[
        str,
        typer.Option(metavar="NAME", help="ours: the same for all; own: as each was published; both."),
    ] = "ours",
    seeds: Annotated[int, typer.Option(metavar="N", help="Draws of calibration texts, from --seed on.")] = 1,
    samples: Annotated[int, typer.Option(metavar="N", help="Texts that are drawn from FILE each time.")] = 1024,
    force: options.Force = False,
) -> None:
    """Prune a model by several methods to several sizes, and see what each loses; goes on where it was stopped."""
    shares = tuple(options.number("--keep", part, "0.5,0.25") for part in options.names(keep) or ())
    if repair not in ("ours", "own", "both"):
        raise InputError(f"--repair is {repair!r}, expected ours, own or both; pass e.g. --repair both")
    with bars() as advance:
        from infoprune.jobs.compare import compare_folder
        from infoprune.jobs.cut import Sources
        from infoprune.jobs.grid import Grid
        from infoprune.reports.comparison import rows, summary

        budgets = (options.budget(part, None) for part in options.names(budget) or ())
        cells = compare_folder(
            model,
            out,
            Sources(data, eval_file, texts.columns, samples),
            Grid(
                options.names(criteria) or (),
                shares,
                tuple(each for each in budgets if each is not None),
                ("own", "ours") if repair == "both" else (repair,),
                seeds,
                run.seed,
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
    for sentence in summary(cells):
        console.print(sentence, soft_wrap=True)
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)


def _announce(outlook: "Outlook") -> None:
    left = f", {outlook.found} of them found from before" if outlook.found else ""
    stdout().print(f"{outlook.cells} cells{left}.")
