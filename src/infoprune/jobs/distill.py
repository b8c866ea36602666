"""The job of `infoprune finetune --teacher`."""

from __future__ import annotations

from infoprune.checkpoint import write_model
from infoprune.errors import InputError
from infoprune.folders import new_folder
from infoprune.jobs.inputs import (
    Batches,
    Columns,
    Packing,
    StrPath,
    check_apart,
    device_named,
    forget_unfinished,
    unfinished,
)
from infoprune.jobs.models import chosen_task, open_model
from infoprune.jobs.tasks import check_columns, inputs_of, questions_of, read, targets
from infoprune.tasks.compare import compare
from infoprune.tasks.evaluate import Progress
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.training.distill import Distillation, distill
from infoprune.vocabulary.tokens import with_tokens_of


def distill_folder(
    folder: StrPath,
    out: StrPath,
    data: StrPath,
    teacher: StrPath,
    *,
    eval_data: StrPath | None = None,
    task: str | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    how: Distillation | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Trains a small model to answer as a large one does and writes it as a new folder, as small as it is.

    Args:
        folder: with the small model, pruned or not, and its tokenizer.
        out: new folder. Until it is there, checkpoints are kept beside it in `out`.unfinished: the same call goes on
            from them.
        data: file of texts; labels are read only where `how` gives them a weight.
        teacher: folder with the large model; it must understand the tokens of the small one, or those that this one
            had before its vocabulary was cut.
        eval_data: file of texts, and labels if the task has any, to score the trained model on.
        task: what the models are for; by default what the class of the small one is for.
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
    aim = chosen_task(folder, task)
    chosen_task(teacher, aim.name)
    if aim.name == "seq2seq":
        raise InputError("there is no distillation of encoder-decoders, expected another task")
    check_columns(aim, columns)
    check_apart(out, folder, teacher, data, eval_data, force=force)
    sentence = read_sentence_folder(folder)
    labelled = how.labels > 0
    if labelled and aim.truth != "labels":
        raise InputError(f"labels were given a weight, but {aim.name} has none; leave the weight at 0")
    texts = read(aim, columns, data, scored=labelled, needed=labelled)
    judges = None if eval_data is None else read(aim, columns, eval_data, scored=True)
    small, tokenizer = open_model(folder, place, aim)
    dense = with_tokens_of(open_model(teacher, place, aim)[0], small)
    batches: Batches
    if labelled:
        batches = packing.pack(texts, small, tokenizer, labels=targets(small, texts))
    else:
        batches = inputs_of(texts, aim, small, tokenizer, packing)
    questions = None if judges is None else questions_of(judges, aim, small, tokenizer, packing, seed)
    result = distill(small, dense, batches, how=how, seed=seed, folder=unfinished(out), progress=progress)
    metrics = {} if questions is None else compare(dense, result.model, questions).small
    with new_folder(out, force=force) as draft:
        write_model(result.model, draft, tokenizer)
        if sentence is not None:
            sentence.write_beside(draft)
    forget_unfinished(out)
    measured = {"kl_before": result.kl_before, "kl": result.kl}
    return {
        "seconds": result.seconds,
        **{name: value for name, value in measured.items() if value is not None},
        **metrics,
    }
