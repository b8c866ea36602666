"""`infoprune finetune`."""

from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout


def finetune_command(
    model: options.Model,
    out: options.Out,
    data: options.Data,
    text: options.Text = None,
    text_pair: options.TextPair = None,
    label: options.Label = None,
    eval_file: options.Eval = None,
    epochs: Annotated[float, typer.Option(metavar="N", help="How often every text is seen.")] = 2.0,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", metavar="RATE", help="Highest step size, reached after a warm-up.")
    ] = 1e-4,
    batch_size: options.BatchSize = 32,
    max_length: options.MaxLength = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    force: options.Force = False,
) -> None:
    """Train a classifier on labelled texts, from a base model, a classifier, or a pruned one that stays as small."""
    with bars() as advance:
        from infoprune.jobs.finetune import finetune_folder
        from infoprune.jobs.inputs import Columns, Packing

        metrics = finetune_folder(
            model,
            out,
            data,
            eval_data=eval_file,
            columns=Columns(text, text_pair, label),
            packing=Packing(batch_size, max_length),
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            device=device,
            force=force,
            progress=lambda done, of: advance("train", done, of),
        )
    from infoprune.render import metrics_table

    console = stdout()
    console.print(metrics_table(metrics, title="fine-tuning"))
    console.print(f"Written to {out}.", soft_wrap=True, markup=False)
