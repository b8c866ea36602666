"""One name and one meaning in Python and on the command line: both signatures are walked, and must not part."""

import inspect
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import typer

import infoprune
from infoprune.budgets.budget import read_budget
from infoprune.cli import app
from infoprune.cli.read import DEFAULT_BUDGET
from infoprune.jobs.evaluate import evaluate_folder
from infoprune.jobs.export_gguf import export_gguf_folder
from infoprune.jobs.push import push_folder
from infoprune.pipeline.size import DEFAULT
from infoprune.serving.export import export
from infoprune.vocabulary.tokens import prune_vocabulary

COMMANDS = typer.main.get_command(app).commands

# For every command the functions and options objects of Python that do its work.
PYTHON = {
    "prune": (
        infoprune.prune,
        infoprune.Settings,
        infoprune.Budget,
        infoprune.make_batches,
        infoprune.read_texts,
        infoprune.save,
        prune_vocabulary,
        export,
    ),
    "collect": (
        infoprune.collect,
        infoprune.find_sites,
        infoprune.make_batches,
        infoprune.read_texts,
        infoprune.save_statistics,
    ),
    "forecast": (infoprune.forecast, infoprune.Workload),
    "finetune": (infoprune.finetune, infoprune.distill, infoprune.Distillation, infoprune.read_texts, infoprune.save),
    "evaluate": (evaluate_folder, infoprune.make_batches, infoprune.read_texts),
    "push": (push_folder,),
    "export": (export, export_gguf_folder, infoprune.make_batches, infoprune.read_texts),
}
# What only files, a process or a terminal have: Python passes the object itself, or needs no word for it.
COMMAND_LINE_ONLY = {
    "out": "a folder or a file that is written; Python saves when it wants to",
    "task": "Python passes a model of the class that it wants",
    "device": "Python moves the model",
    "as_json": "of the terminal",
    "plan_only": "Python reads Result.plan",
    "onnx": "Python calls export",
    "data": "a file; Python passes batches or texts",
    "eval_file": "a file; Python passes eval_batches",
    "seed": "where a step has nothing random, Python has no seed",
    "against": "a folder",
    "teacher": "a folder; distill takes the model",
}
# What only Python can pass.
PYTHON_ONLY = {
    "batches": "inputs themselves",
    "eval_batches": "inputs themselves",
    "distill_batches": "the command line trains on all of --data",
    "checkpoints": "the command line keeps them beside OUT",
    "progress": "a function",
    "labels": "numbers; the command line reads a column",
    "need_labels": "the command line knows by the task",
    "sort": "order of the batches",
    "path": "the file itself",
    "folder": "a folder to write to",
    "file": "a file to write to",
    "tokenizer": "the object itself",
    "small": "the model itself",
    "dense": "the model itself",
    "sites": "objects from find_sites",
    "work": "the Workload",
    "how": "the Distillation",
    "columns": "Columns, the same three names",
    "packing": "Packing, the same two names",
    "eval_data": "the texts themselves",
    "split": "part of the name of a dataset",
    "quantity": "half of a budget",
    "amount": "half of a budget",
    "empty": "for surgery",
    "settings": "an object whose fields are options of the same names",
    "fisher_samples": "an expert's choice, see Settings",
    "extras": "what a criterion asks for by itself",
    "kept": "of a plan",
    # Settings and Distillation: choices whose default is the best we know, see docs/research/ablation.md
    **dict.fromkeys(("refresh", "smoothing", "shrinkage", "ridge", "augmentations", "producers", "neurons"), "expert"),
    **dict.fromkeys(("temperature", "hidden", "token_replacement", "repeats", "held_out", "patience"), "expert"),
    **dict.fromkeys(("freeze_embeddings", "bf16"), "expert"),
}
# Same name and meaning, but another default, and why.
OTHER_DEFAULT = {
    "samples": "Python batches all texts unless told; the command line samples",
    "batch_size": "None asks for the task's usual size",
    "keep": "a forecast needs a number",
    "learning_rate": "None asks for what suits the teacher",
    "epochs": "of distillation and of fine-tuning",
    "max_length": "of a forecast: tokens of every text",
    "type": "None tells that it was not given; then it is f16",
    "min_count": "None tells that it was not given; then it is 1",
    "extra_tokens": "None tells that it was not given; then it is 0",
}


def python_parameters(command):
    found = {}
    for each in PYTHON[command]:
        if is_dataclass(each):
            found |= {field.name: field for field in fields(each)}
        else:
            found |= dict(inspect.signature(each).parameters)
    return found


def options(command):
    return {each.name: each for each in COMMANDS[command].params if each.name not in ("help", "model")}


@pytest.mark.parametrize("command", PYTHON)
def test_every_option_is_an_argument_of_the_same_name(command):
    known = python_parameters(command)
    assert [name for name in options(command) if name not in known and name not in COMMAND_LINE_ONLY] == []


@pytest.mark.parametrize("command", PYTHON)
def test_every_argument_is_an_option_of_the_same_name(command):
    known = options(command)
    names = set(python_parameters(command)) - {"model"}
    missing = {name for name in names if name not in known and name not in PYTHON_ONLY}
    # what a function shared with other commands has beside is theirs
    theirs = {name for other in PYTHON for name in options(other)} | {"eval"}
    assert sorted(missing - theirs) == []


@pytest.mark.parametrize("command", PYTHON)
def test_defaults_are_the_same(command):
    known = python_parameters(command)
    for name, option in options(command).items():
        if name not in known or name in OTHER_DEFAULT or name in COMMAND_LINE_ONLY:
            continue
        default = getattr(known[name], "default", None)
        if default in (inspect.Parameter.empty, None) or type(default).__name__ == "_MISSING_TYPE":
            continue
        assert option.default == default, f"--{name}: {option.default!r} on the command line, {default!r} in Python"


def test_the_default_size_is_the_same():
    assert read_budget(DEFAULT_BUDGET) == DEFAULT
    assert DEFAULT_BUDGET in options("prune")["budget"].help


def test_an_option_is_spelt_as_its_name():
    for command in COMMANDS.values():
        for each in command.params:
            for spelt in each.opts if each.param_type_name == "option" else ():
                name = spelt.lstrip("-").replace("-", "_")
                assert name in (
                    each.name,
                    {"eval_file": "eval", "as_json": "json", "as_markdown": "markdown"}.get(each.name),
                    "h",
                )


def test_an_option_has_one_meaning():
    """The same option is a switch everywhere or nowhere, with the same metavar but for lists."""
    seen = {}
    for command, each in ((name, each) for name, each_command in COMMANDS.items() for each in each_command.params):
        if each.param_type_name == "option" and each.name != "help":
            seen.setdefault(each.opts[0], {})[command] = (bool(each.secondary_opts or each.is_flag), each.metavar)
    for name, uses in seen.items():
        assert len({switch for switch, _ in uses.values()}) == 1, f"{name}: {uses}"
        assert len({(metavar or "").removesuffix(",...") for _, metavar in uses.values()}) == 1, f"{name}: {uses}"


def test_public_names_are_written_once_and_are_no_modules():
    assert len(infoprune.__all__) <= 40
    package = {path.stem for path in (Path(infoprune.__file__).parent).iterdir()}
    assert not package & set(infoprune.__all__), "a module hides a public name"
