"""`infoprune collect`."""

from infoprune.cli import cut_options, options, read
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import ColumnOptions, RunOptions


def collect_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    *,
    columns: ColumnOptions,
    samples: options.Samples = 1024,
    task: options.TaskName = None,
    structures: cut_options.LayerStructures = None,
    memory: options.Memory = None,
    run: RunOptions,
    force: options.Force = False,
) -> None:
    """Collect the statistics that units are chosen by, for prune --statistics: on many machines, or for many sizes."""
    with bars() as advance:
        from infoprune.jobs.collect import Collection, collect_folder
        from infoprune.pipeline.settings import Settings
        from infoprune.processes import process_group, process_index

        settings = Settings(memory=read.memory(memory))
        with process_group(run.device) as device:
            first = process_index() == 0
            found = collect_folder(
                model,
                out,
                data,
                columns=columns.columns,
                collection=Collection(read.names(structures), samples, settings, run.seed),
                task=task,
                packing=run.packing,
                device=device,
                force=force,
                progress=advance if first else None,
            )
    if not first:
        return
    from infoprune.reports.render import human

    console = stdout()
    sizes = f"{len(found.sites)} sites, {found.inputs:,} inputs, {found.tokens:,} tokens, {human(found.bytes, 'B')}"
    console.print(sizes, soft_wrap=True)
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)
