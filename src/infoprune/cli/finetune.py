"""`infoprune finetune`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout
from infoprune.cli.groups import RunOptions, TextOptions


def finetune_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    *,
    texts: TextOptions,
    eval_file: options.Eval = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder of the model to learn from: its answers replace the labels."),
    ] = None,
    epochs: Annotated[float, typer.Option(metavar="N", help="How often every text is seen.")] = 2.0,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            metavar="RATE",
            help="Highest step size, after a warm-up; by default 0.0001, and with a teacher what suits the sizes.",
        ),
    ] = None,
    how: RunOptions,
    force: options.Force = False,
) -> None:
    """Train a classifier on labelled texts or on the answers of a teacher; a pruned one stays as small as it is."""
    with bars() as advance:
        from infoprune.jobs.distill import distill_folder
        from infoprune.jobs.finetune import finetune_folder
        from infoprune.jobs.inputs import check_positive
        from infoprune.training.distill import Distillation

        check_positive("epochs", epochs)
        if learning_rate is not None:
            check_positive("learning-rate", learning_rate)
        job: Callable[..., dict[str, float]]
        if teacher is None:
            job = partial(finetune_folder, model, out, data, epochs=epochs, learning_rate=learning_rate or 1e-4)
        else:
            lesson = Distillation(epochs=epochs)
            lesson = lesson if learning_rate is None else replace(lesson, learning_rate=learning_rate)
            job = partial(distill_folder, model, out, data, teacher, how=lesson)
        metrics = job(
            eval_data=eval_file,
            columns=texts.columns,
            packing=how.packing,
            seed=how.seed,
            device=how.device,
            force=force,
            progress=lambda done, of: advance("train", done, of),
        )
    from infoprune.reports.render import metrics_table

    console = stdout()
    console.print(metrics_table(metrics, title="fine-tuning" if teacher is None else "distillation"))
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)
