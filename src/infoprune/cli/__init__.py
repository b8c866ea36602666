"""Command line: parse options, call a job, and show progress and tables.

Exit codes: 0 success; 2 invalid input, with one line on stderr and nothing written; 1 any other error.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, cast

import typer
from typer.core import TyperGroup

from infoprune.cli.bench import bench_command
from infoprune.cli.collect import collect_command
from infoprune.cli.compare import compare_command
from infoprune.cli.console import DEBUG, clean_warnings, complain
from infoprune.cli.evaluate import evaluate_command
from infoprune.cli.export import export_command
from infoprune.cli.families import families_command
from infoprune.cli.finetune import finetune_command
from infoprune.cli.forecast import forecast_command
from infoprune.cli.groups import grouped
from infoprune.cli.prune import prune_command
from infoprune.cli.push import push_command
from infoprune.cli.report import report_command
from infoprune.cli.spoken import as_options
from infoprune.cli.usage import usage_message
from infoprune.errors import InputError, reason_of

# The base of all usage errors; it moved between releases of typer, but its subclass BadParameter did not.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


_INTERRUPTED = 128 + signal.SIGINT
"""Status that typer returns for a Ctrl-C while it still parses the command line."""


class _Interrupted(Exception):
    """Ctrl-C, in a form that typer passes on."""


class _Group(TyperGroup):
    def invoke(self, ctx: object) -> object:
        try:
            return super().invoke(cast(typer.Context, ctx))
        except KeyboardInterrupt as error:
            raise _Interrupted from error


app = typer.Typer(
    name="infoprune",
    cls=_Group,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: infoprune prune my-classifier my-classifier-half --data texts.csv",
)


def _version(wanted: bool) -> bool:
    if wanted:
        from infoprune import __version__

        typer.echo(f"infoprune {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, help="Show the version and exit.")] = False,
) -> None:
    """Make a Transformer smaller and faster: prune it by information, with a few hundred texts and without training."""


def _register(name: str, command: Callable[..., None], example: str) -> None:
    app.command(name, epilog=f"Example: infoprune {name} {example}")(grouped(command))


_register("prune", prune_command, "my-classifier half --data train.csv --eval valid.csv --budget flops=0.5")
_register("evaluate", evaluate_command, "half --eval test.csv --label label")
_register("finetune", finetune_command, "half half-tuned --data train.csv --eval valid.csv --epochs 1")
_register(
    "compare",
    compare_command,
    "my-classifier compared --data train.csv --eval valid.csv --criteria information,wanda --keep 0.5,0.25",
)
_register("bench", bench_command, "my-classifier half half.onnx --batch-size 1,32 --eval test.csv")
_register("export", export_command, "half --data valid.csv --int8")
_register("collect", collect_command, "my-classifier my-classifier.statistics --data train.csv --memory 2GB")
_register("forecast", forecast_command, "my-classifier --samples 1024 --max-length 64")
_register("report", report_command, "half")
_register("push", push_command, "half owner/my-classifier-half")
_register("families", families_command, "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: What follows the program's name; by default what the shell passed.

    Examples:
        >>> main(["report", "half"])
        0
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with clean_warnings(lambda message: as_options(message, _options())):
        try:
            status = _program().main(given, prog_name="infoprune", standalone_mode=False)
            if status == _INTERRUPTED:
                raise _Interrupted
            return status if isinstance(status, int) else 0
        except InputError as error:
            return complain(as_options(str(error), _options()), 2)
        except _UsageError as error:
            return complain(usage_message(error, given), 2)
        except (_Interrupted, KeyboardInterrupt, typer.Abort):
            return complain("interrupted; no incomplete result is left", 1)
        except OSError as error:
            _debug()
            file = f" ({error.filename})" if error.filename else ""
            return complain(f"{error.strerror or error}{file}; no incomplete result is left", 1)
        except Exception as error:
            _debug()
            name, reason = type(error).__name__, reason_of(error, 400)
            said = name if reason == name else f"{name}: {reason}"
            return complain(f"{said} (set {DEBUG}=1 for the traceback)", 1)


@cache
def _program() -> TyperGroup:
    """Return the parser of all commands; Typer takes longer to build it than most refusals take."""
    return cast(TyperGroup, typer.main.get_command(app))


def _options() -> frozenset[str]:
    """Return the names of all options of all commands."""
    parameters = (each for command in _program().commands.values() for each in command.params)
    return frozenset(name for each in parameters for name in (*each.opts, *each.secondary_opts))


def _debug() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc()
