"""`infoprune collect`."""

from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import RunOptions, TextOptions


def collect_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    *,
    texts: TextOptions,
    task: options.TaskName = None,
    sites: Annotated[
        str | None, typer.Option(metavar="KINDS", help="Some of ffn and heads; by default all that the family has.")
    ] = None,
    samples: Annotated[int, typer.Option(metavar="N", help="Texts that are drawn from FILE.")] = 1024,
    memory: options.Memory = None,
    how: RunOptions,
    force: options.Force = False,
) -> None:
    """Collect the statistics that units are chosen by, for prune --statistics: on many machines, or for many cuts."""
    with bars() as advance:
        from infoprune.jobs.collect import Collection, collect_folder
        from infoprune.processes import process_group, process_index
        from infoprune.settings import Settings

        settings = Settings(memory=options.memory(memory))
        with process_group(how.device) as device:
            first = process_index() == 0
            found = collect_folder(
                model,
                out,
                data,
                columns=texts.columns,
                collection=Collection(options.names(sites), samples, settings, how.seed),
                task=task,
                packing=how.packing,
                device=device,
                force=force,
                progress=advance if first else None,
            )
    if not first:
        return
    from infoprune.reports.render import human

    console = stdout()
    sizes = f"{len(found.sites)} sites, {found.inputs:,} texts, {found.tokens:,} tokens, {human(found.bytes, 'B')}"
    console.print(sizes, soft_wrap=True)
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)
