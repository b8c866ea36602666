"""`infoprune push`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from infoprune.cli import options
from infoprune.cli.console import bars, stdout


def push_command(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder of a model, such as one written by prune.")],
    repository: Annotated[
        str,
        typer.Argument(
            metavar="OWNER/NAME",
            help="Repository on the Hugging Face Hub, made where there is none; OWNER/NAME@BRANCH for a branch.",
        ),
    ],
    *,
    public: Annotated[
        bool, typer.Option("--public", help="Let anybody read it; default: private.", rich_help_panel=options.OUTPUT)
    ] = False,
    message: Annotated[
        str, typer.Option(metavar="TEXT", help="Message of the commit.", rich_help_panel=options.OUTPUT)
    ] = "Upload a pruned model",
    as_json: options.AsJson = False,
) -> None:
    """Push a model with its card and reports to the Hugging Face Hub, with the token of HF_TOKEN or hf auth login."""
    with bars() as advance:
        from infoprune.jobs.push import push_folder

        pushed = push_folder(out, repository, public=public, message=message, progress=advance)
    if as_json:
        typer.echo(json.dumps(asdict(pushed)))
        return
    from infoprune.reports.render import human

    size, seen = human(pushed.bytes, "B"), "private" if pushed.private else "public"
    line = f"Pushed {len(pushed.files)} files ({size}) to {pushed.address} ({seen})."
    stdout().print(line, soft_wrap=True, markup=False)
