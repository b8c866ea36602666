"""The command line: it parses, calls a job, and shows progress and tables.

Exit codes: 0 done; 2 the input is wrong, one line on stderr and nothing written; 1 anything else.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
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
from infoprune.cli.groups import grouped
from infoprune.cli.plan_memory import plan_memory_command
from infoprune.cli.prune import prune_command
from infoprune.cli.report import report_command
from infoprune.errors import InputError

# The base of all usage errors; typer has kept it in different places, and its subclass in this one.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


_INTERRUPTED = 128 + signal.SIGINT
"""What typer returns for a Ctrl-C while it still reads the command line."""


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
    epilog="Example: infoprune prune my-classifier my-classifier-half --data texts.csv --keep 0.5",
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
    """Make a Transformer smaller and faster: prune it by information, from a few hundred texts, without training."""


def _register(name: str, command: Callable[..., None], example: str) -> None:
    app.command(name, epilog=f"Example: infoprune {name} {example}")(grouped(command))


_register("prune", prune_command, "my-classifier half --data train.csv --eval valid.csv --keep 0.5")
_register("evaluate", evaluate_command, "half --data test.csv --label label")
_register("finetune", finetune_command, "half half-tuned --data train.csv --eval valid.csv --epochs 1")
_register(
    "compare",
    compare_command,
    "my-classifier rivals --data train.csv --eval valid.csv --criteria information,wanda --keep 0.5,0.25",
)
_register("bench", bench_command, "my-classifier half half.onnx --batch-size 1,32 --eval test.csv")
_register("export", export_command, "half half.onnx --data valid.csv --int8")
_register("collect", collect_command, "my-classifier my-classifier.statistics --data train.csv --memory 2GB")
_register("plan-memory", plan_memory_command, "my-classifier --samples 1024 --max-length 64")
_register("report", report_command, "half")
_register("families", families_command, "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: What follows the program's name; by default what the shell passed.

    Example:
        >>> main(["report", "half"])
        0
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with clean_warnings():
        try:
            command = typer.main.get_command(app)
            status = command.main(given, prog_name="infoprune", standalone_mode=False)
            if status == _INTERRUPTED:
                raise _Interrupted
            return status if isinstance(status, int) else 0
        except InputError as error:
            return complain(str(error), 2)
        except _UsageError as error:
            return complain(f"{cast(typer.BadParameter, error).format_message().rstrip('.')}; see infoprune --help", 2)
        except (_Interrupted, KeyboardInterrupt, typer.Abort):
            return complain("interrupted; nothing is left half-written", 1)
        except OSError as error:
            _debug()
            place = f" ({error.filename})" if error.filename else ""
            return complain(f"{error.strerror or error}{place}; nothing is left half-written", 1)
        except Exception as error:
            _debug()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return complain(f"{reason:.400} (set {DEBUG}=1 to see where)", 1)


def _debug() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc()
