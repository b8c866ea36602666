"""`infoprune prune`."""

from typing import TYPE_CHECKING, Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import RunOptions, TextOptions

if TYPE_CHECKING:
    from infoprune.jobs.preview import Preview


def prune_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    *,
    texts: TextOptions,
    task: options.TaskName = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Share of the neurons and heads that stays in every layer; by default 0.5."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="COST",
            help="Instead: what the result may cost, e.g. flops=0.4, latency=0.5, params=10M or bytes=20MB.",
        ),
    ] = None,
    allocation: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="How a budget is divided: nats (least loss) or uniform (the same share)."),
    ] = None,
    depth: Annotated[
        bool,
        typer.Option("--depth", help="Let a budget drop whole attention and feed-forward blocks where they say least."),
    ] = False,
    max_loss: Annotated[
        str | None,
        typer.Option(metavar="LOSS", help="Instead: the smallest model that loses at most, e.g., accuracy=0.5 points."),
    ] = None,
    max_kl: Annotated[
        str | None, typer.Option("--max-kl", metavar="NATS", help="The same, for the divergence from MODEL's answers.")
    ] = None,
    sites: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="What is cut: some of ffn, heads, width (or layer-width, where every layer has its own), pooler, "
            "vocabulary; by default the first two.",
        ),
    ] = None,
    shape: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="uniform: only sizes that plain transformers can open, alike in all layers, the width too where heads "
            "want that; free: any sizes, opened by infoprune.load.",
        ),
    ] = "free",
    min_count: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="With vocabulary among the sites: tokens seen less often in FILE go; by default 1."
        ),
    ] = None,
    extra_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="So many other tokens stay, those that new texts are likeliest to have; by default none."
        ),
    ] = None,
    dropped_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What becomes of the others in a text: pieces (the tokenizer splits them) or nearest (the model reads "
            "the nearest row that stays, and infoprune.load opens it); by default nearest where the cut needs "
            "infoprune.load anyway and the model says no tokens.",
        ),
    ] = None,
    criterion: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What chooses the units: information, or for comparison fan2021, kwon, brain-surgeon, leverage, "
            "flap, wanda, taylor, activation, magnitude, magnitude-l1 or random.",
        ),
    ] = "information",
    rounds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Parts in which the units are chosen, each with a repair; by default 1."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Re-fit what is left to the dense model after the cut.")
    ] = True,
    distill: Annotated[
        float | None,
        typer.Option(metavar="EPOCHS", help="Train on the dense model's answers to all of FILE, so often over it."),
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", help="Texts that are drawn from FILE to choose the units.")
    ] = 1024,
    statistics: options.Statistics = None,
    memory: options.Memory = None,
    how: RunOptions,
    eval_file: options.Eval = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Write only plan.json, which says what would be kept.")
    ] = False,
    force: options.Force = False,
) -> None:
    """Make a smaller, dense, faster model of the same family from a model and some texts."""
    share = None if keep is None else options.number("--keep", keep, "0.5")
    with bars() as advance:
        from infoprune.jobs.cut import Cut, Sources
        from infoprune.jobs.inputs import check_positive
        from infoprune.jobs.prune import prune_folder
        from infoprune.processes import process_group, process_index
        from infoprune.settings import Settings
        from infoprune.training.distill import Distillation

        settings = Settings(
            1 if rounds is None else rounds, repair=repair, shape=options.shape(shape), memory=options.memory(memory)
        )
        if distill is not None:
            check_positive("distill", distill)
        recovery = None if distill is None else Distillation(epochs=distill)
        sources = Sources(data, eval_file, texts.columns, samples, tuple(statistics or ()))
        cut = Cut(
            keep=share,
            budget=options.budget(budget, allocation, depth=depth),
            tolerance=options.tolerance(max_loss, max_kl),
            sites=options.names(sites),
            min_count=min_count,
            extra_tokens=extra_tokens,
            dropped_tokens=options.dropped_tokens(dropped_tokens),
            criterion=criterion,
            settings=settings,
            distill=recovery,
            seed=how.seed,
        )
        with process_group(how.device) as device:
            first = process_index() == 0
            report = prune_folder(
                model,
                out,
                sources,
                cut=cut,
                task=task,
                packing=how.packing,
                device=device,
                plan_only=plan_only,
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


def _announce(preview: "Preview") -> None:
    from infoprune.reports.render import kept_in_words, loading

    console = stdout()
    kept = kept_in_words(preview.kept) if preview.kept else "what the budget allows"
    console.print(
        f"{preview.family} {preview.task}: keeps {kept}, "
        f"chosen on {preview.texts:,} texts ({preview.tokens:,} tokens).",
        soft_wrap=True,
    )
    console.print(loading(preview.loads_in), soft_wrap=True)
