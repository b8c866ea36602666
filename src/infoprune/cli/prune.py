"""`infoprune prune`."""

from typing import TYPE_CHECKING

from infoprune.cli import options, read
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import (
    AfterOptions,
    ColumnOptions,
    RunOptions,
    SizeOptions,
    StructureOptions,
    VocabularyOptions,
)

if TYPE_CHECKING:
    from infoprune.jobs.cut import Cut
    from infoprune.jobs.preview import Preview


def prune_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    *,
    eval_file: options.Eval = None,
    columns: ColumnOptions,
    samples: options.Samples = 1024,
    task: options.TaskName = None,
    size: SizeOptions,
    what: StructureOptions,
    vocabulary: VocabularyOptions,
    after: AfterOptions,
    memory: options.Memory = None,
    run: RunOptions,
    plan_only: options.PlanOnly = False,
    onnx: options.Onnx = False,
    int8: options.Int8 = False,
    force: options.Force = False,
) -> None:
    """Make a smaller, dense, faster model of the same family from a model and some texts, pictures or clips."""
    with bars() as advance:
        from infoprune.jobs.cut import Sources
        from infoprune.jobs.export import Graphs
        from infoprune.jobs.prune import prune_folder
        from infoprune.processes import process_group, process_index

        sources = Sources(data, eval_file, columns.columns, samples, tuple(what.statistics or ()))
        cut = _cut(size, what, vocabulary, after, memory, run.seed)
        with process_group(run.device) as device:
            first = process_index() == 0
            report = prune_folder(
                model,
                out,
                sources,
                cut=cut,
                task=task,
                packing=run.packing,
                device=device,
                plan_only=plan_only,
                graphs=Graphs(onnx=onnx, int8=int8),
                force=force,
                started=_announce if first else None,
                progress=advance if first else None,
            )
    if not first:
        return
    from infoprune.reports.render import kept_table, summary, table

    console = stdout()
    if not plan_only:
        console.print(table(report))
    console.print(kept_table(report.kept))
    for line in summary(report):
        console.print(line, soft_wrap=True)
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)


def _cut(
    size: SizeOptions,
    what: StructureOptions,
    vocabulary: VocabularyOptions,
    after: AfterOptions,
    memory: str | None,
    seed: int,
) -> "Cut":
    from infoprune.jobs.cut import Cut
    from infoprune.jobs.inputs import check_positive
    from infoprune.pipeline.settings import Settings
    from infoprune.training.distill import Distillation

    shape = read.shape(what.shape)
    effort, bound = read.effort(after.effort), read.memory(memory)
    settings = Settings(after.rounds, repair=after.repair, effort=effort, shape=shape, memory=bound)
    if after.distill is not None:
        check_positive("distill", after.distill)
    return Cut(
        keep=size.share,
        budget=size.cost,
        max_loss=size.loss,
        structures=read.names(what.structures),
        min_count=vocabulary.min_count,
        extra_tokens=vocabulary.extra_tokens,
        dropped_tokens=read.dropped_tokens(vocabulary.dropped_tokens),
        criterion=what.criterion,
        settings=settings,
        distill=None if after.distill is None else Distillation(epochs=after.distill),
        seed=seed,
    )


def _announce(preview: "Preview") -> None:
    from infoprune.reports.render import kept_in_words, loading
    from infoprune.tasks.table import reads_of

    console = stdout()
    kept = kept_in_words(preview.kept) if preview.kept else "what the budget allows"
    reads = reads_of(preview.task)
    tokens = f" ({preview.tokens:,} tokens)" if reads == "texts" else ""
    console.print(
        f"{preview.family} {preview.task}: keeps {kept}, chosen on {preview.inputs:,} {reads}{tokens}.", soft_wrap=True
    )
    console.print(loading(preview.loads_in), soft_wrap=True)
