"""The job of `infoprune finetune --teacher`."""

from __future__ import annotations

from infoprune.checkpoint import save
from infoprune.distill import Distillation, distill
from infoprune.evaluate import Progress, evaluate
from infoprune.jobs.inputs import (
    Columns,
    Packing,
    StrPath,
    check_apart,
    device_named,
    forget_unfinished,
    open_classifier,
    read_config,
    targets,
    unfinished,
)
from infoprune.vocabulary import with_tokens_of


def distill_folder(
    folder: StrPath,
    out: StrPath,
    data: StrPath,
    teacher: StrPath,
    *,
    eval_data: StrPath | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    how: Distillation | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Trains a small classifier to answer as a large one does and writes it as a new folder, as small as it is.

    Args:
        folder: with the small model, pruned or not, and its tokenizer.
        out: new folder. Until it is there, checkpoints are kept beside it in `out`.unfinished: the same call goes on
            from them.
        data: file of texts; labels are read only where `how` gives them a weight.
        teacher: folder with the large model; it must understand the tokens of the small one, or those that this one
            had before its vocabulary was cut.
        eval_data: file of texts and labels to score the trained model on.
        columns: of both files.
        packing: batch size and length.
        how: epochs, losses, stopping.
        seed: of the order and of what is held out.
        device: "auto", "cpu", "cuda", "mps".
        force: replace `out` if it is there.
        progress: called with (steps done, steps in all).

    Returns:
        `seconds`; `kl_before` and `kl`, nats an input on held-out texts; and the metrics on `eval_data`.

    Raises:
        InputError: something about folders, data or options is wrong; the message says what to do.

    Example:
        >>> distill_folder("half", "half-better", "texts.csv", "my-classifier")["kl"]
        0.017
    """
    columns, packing, how = columns or Columns(), packing or Packing(), how or Distillation()
    place = device_named(device)
    read_config(folder)
    read_config(teacher)
    check_apart(out, folder, teacher, data, eval_data, force=force)
    texts = columns.read(data, labels=how.labels > 0, need_labels=how.labels > 0)
    judges = None if eval_data is None else columns.read(eval_data, need_labels=True)
    small, tokenizer = open_classifier(folder, place)
    dense = with_tokens_of(open_classifier(teacher, place)[0], small)
    batches = packing.pack(texts, small, tokenizer, labels=targets(small, texts) if how.labels else None)
    questions = None
    if judges is not None:
        questions = packing.pack(judges, small, tokenizer, labels=targets(small, judges))
    result = distill(small, dense, batches, how=how, seed=seed, folder=unfinished(out), progress=progress)
    metrics = {} if questions is None else evaluate(result.model, questions).metrics
    save(result.model, out, tokenizer, force=force)
    forget_unfinished(out)
    measured = {"kl_before": result.kl_before, "kl": result.kl}
    return {
        "seconds": result.seconds,
        **{name: value for name, value in measured.items() if value is not None},
        **metrics,
    }
