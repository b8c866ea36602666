"""`infoprune finetune`."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import ColumnOptions, RunOptions


def finetune_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    *,
    eval_file: options.Eval = None,
    columns: ColumnOptions,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Folder or name of the model to distill from; its outputs replace the labels.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    epochs: Annotated[
        float, typer.Option(metavar="N", help="Passes over the data.", rich_help_panel=options.TRAINING)
    ] = 2.0,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            metavar="RATE",
            help="Highest learning rate, after warm-up; default: 0.0001, with a teacher by how much was pruned.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    run: RunOptions,
    force: options.Force = False,
) -> None:
    """Train a classifier on labelled texts or pictures, or on the outputs of a teacher; a pruned one keeps its size."""
    with bars() as advance:
        from infoprune.jobs.distill import distill_folder
        from infoprune.jobs.finetune import finetune_folder
        from infoprune.jobs.inputs import check_positive
        from infoprune.training.distill import Distillation

        check_positive("epochs", epochs)
        if learning_rate is not None:
            check_positive("learning_rate", learning_rate)
        job: Callable[..., dict[str, float]]
        if teacher is None:
            rate = learning_rate or 1e-4
            job = partial(finetune_folder, model, out, data, epochs=epochs, learning_rate=rate, started=_announce)
        else:
            how = Distillation(epochs=epochs, learning_rate=learning_rate)
            job = partial(distill_folder, model, out, data, teacher, how=how)
        metrics = job(
            eval=eval_file,
            columns=columns.columns,
            packing=run.packing,
            seed=run.seed,
            device=run.device,
            force=force,
            progress=advance,
        )
    from infoprune.reports.render import metrics_table

    console = stdout()
    console.print(metrics_table(metrics, title="fine-tuning" if teacher is None else "distillation"))
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)


def _announce(origin: str) -> None:
    stdout().print(origin, soft_wrap=True, markup=False)
