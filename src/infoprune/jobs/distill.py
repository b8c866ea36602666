"""Distill: the job of `infoprune finetune --teacher`."""

from __future__ import annotations

from infoprune.checkpoint import check_writable, write_model
from infoprune.errors import InputError
from infoprune.files.folders import new_folder
from infoprune.jobs.inputs import (
    Columns,
    Packing,
    StrPath,
    Texts,
    check_apart,
    device_named,
    forget_unfinished,
    stage,
    unfinished,
)
from infoprune.jobs.models import chosen_task, embedding_length, open_model
from infoprune.jobs.tasks import check_columns, eval_batches_of, inputs_of, read
from infoprune.pipeline.clock import StageProgress
from infoprune.sources.models import model_folder
from infoprune.tasks.compare import compare
from infoprune.tasks.sentence import read_sentence_folder
from infoprune.tasks.table import check_distillable
from infoprune.training.distill import Distillation, distill
from infoprune.vocabulary.tokens import with_tokens_of


def distill_folder(
    folder: StrPath,
    out: StrPath,
    data: Texts,
    teacher: StrPath,
    *,
    eval: Texts | None = None,
    task: str | None = None,
    columns: Columns | None = None,
    packing: Packing | None = None,
    how: Distillation | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    progress: StageProgress | None = None,
) -> dict[str, float]:
    """Train a small model on the outputs of a large one and write it as a new folder; its size does not change.

    Args:
        folder: Folder with the small model, pruned or not, and its tokenizer, or name of a model on the hub.
        out: New folder. Until it is written, checkpoints are stored beside it in `out`.unfinished; the same call
            resumes from them.
        data: Texts; labels are read only where `how` gives them a weight.
        teacher: Folder with the large model, or name of a model on the hub; it must have the tokens of the small one,
            or those that the small one had before its vocabulary was cut.
        eval: Texts, with labels if the task has any, on which the trained model is scored.
        task: Task of the models; by default that of the small model's class.
        columns: Columns of both.
        packing: Batch size and length.
        how: Epochs, losses, stopping.
        seed: Seed of the order and of the held-out texts.
        device: "auto", "cpu", "cuda", "mps".
        force: Whether to replace `out` if it exists.
        progress: Called with (stage, done, of).

    Returns:
        `seconds`; `kl_before` and `kl`, in nats per input on held-out texts; and the metrics on `eval`.

    Raises:
        InputError: A folder, the data or an option is not valid; the message gives the remedy.

    Examples:
        >>> distill_folder("half", "half-better", "texts.csv", "my-classifier")["kl"]
        0.017
    """
    columns, packing, how = columns or Columns(), packing or Packing(), how or Distillation()
    torch_device = device_named(device)
    check_apart(out, folder, teacher, data, eval, force=force)
    folder, teacher = model_folder(folder, progress=progress), model_folder(teacher, progress=progress)
    check_apart(out, folder, teacher, force=True)
    aim = chosen_task(folder, task)
    chosen_task(teacher, aim.name)
    check_distillable(aim.name, "teacher")
    check_columns(aim, columns)
    sentence = read_sentence_folder(folder)
    labelled = how.labels > 0
    if labelled and aim.truth != "labels":
        raise InputError(f"`labels` has a weight, but {aim.name} has no labels; leave the weight at 0")
    texts = read(aim, columns, data, scored=labelled, needed=labelled, progress=progress)
    eval_texts = None
    if eval is not None:
        eval_texts = read(aim, columns, eval, scored=True, split="validation", progress=progress)
    small, tokenizer = open_model(folder, torch_device, aim)
    check_writable(small, tokenizer)
    dense = with_tokens_of(open_model(teacher, torch_device, aim)[0], small)
    if labelled:
        batches = eval_batches_of(texts, aim, small, tokenizer, packing, seed)
    else:
        batches = inputs_of(texts, aim, small, tokenizer, packing)
    eval_batches = None if eval_texts is None else eval_batches_of(eval_texts, aim, small, tokenizer, packing, seed)
    result = distill(
        small, dense, batches, how=how, seed=seed, folder=unfinished(out), progress=stage("train", progress)
    )
    metrics = {} if eval_batches is None else compare(dense, result.model, eval_batches).small
    with new_folder(out, force=force) as draft:
        write_model(result.model, draft, tokenizer)
        if sentence is not None:
            sentence.write_beside(draft, embedding_length(result.model))
    forget_unfinished(out)
    measured = {"kl_before": result.kl_before, "kl": result.kl}
    return {
        "seconds": result.seconds,
        **{name: value for name, value in measured.items() if value is not None},
        **metrics,
    }
