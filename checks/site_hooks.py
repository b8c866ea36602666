"""What mkdocs runs while it builds the site: the page of the command line, and a check that no public name is missing.

Named in mkdocs.yml; the site is built by `make docs`.
"""

import logging
import re
from pathlib import Path

import typer
import typer.core
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import infoprune
from infoprune.cli import app

REFERENCE = Path("docs/reference/python.md")
ORDER = (
    "prune",
    "evaluate",
    "finetune",
    "compare",
    "bench",
    "export",
    "push",
    "collect",
    "forecast",
    "report",
    "families",
)
LOG = logging.getLogger("mkdocs.plugins.site_hooks")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page of the command line."""
    files.append(File.generated(config, "reference/cli.md", content=command_line()))
    return files


def on_pre_build(config: MkDocsConfig) -> None:
    """Warns, which a strict build takes for an error, where a public name is not documented."""
    documented = set(re.findall(r"^::: infoprune\.(\w+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    for name in sorted(set(infoprune.__all__) ^ documented):
        LOG.warning("%s: %s is public or documented, but not both", REFERENCE, name)


def command_line() -> str:
    """The help of every command, as Markdown."""
    group = typer.main.get_command(app)
    parts = [
        "# Command line",
        str(group.help),
        "Every command has `--help`. Exit codes: 0 done; 2 wrong input, with one",
    ]
    parts[-1] += " line on stderr and nothing written; 1 anything else."
    for name, command in sorted(group.commands.items(), key=lambda item: ORDER.index(item[0])):
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        usage = " ".join(["infoprune", name, *(each.metavar for each in arguments), "[OPTIONS]"])
        parts += [f"## infoprune {name}", str(command.help), f"```text\n{usage}\n```"]
        parts += [table("Arguments", [(f"`{each.metavar}`", each.help) for each in arguments])]
        panels: dict[str, list[tuple[str, str]]] = {}
        for each in command.params:
            if each.param_type_name == "option" and each.name != "help":
                panels.setdefault(each.rich_help_panel or "Options", []).append((option(each), described(each)))
        parts += [table(panel, rows) for panel, rows in panels.items()]
        parts += [f"```bash\n{str(command.epilog).removeprefix('Example: ')}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def option(parameter: typer.core.TyperOption) -> str:
    """Its names, and what follows them."""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"{names} `{parameter.metavar}`" if parameter.metavar else names


def described(parameter: typer.core.TyperOption) -> str:
    """Its help, whether it is needed, and its default."""
    if parameter.required:
        return f"{parameter.help} Required."
    shown = parameter.default not in (None, False, True) and parameter.show_default
    return f"{parameter.help} Default: `{parameter.default}`." if shown else str(parameter.help)


def table(title: str, rows: list[tuple[str, str]]) -> str:
    """A panel of the help as a table."""
    if not rows:
        return ""
    lines = (f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows)
    return "\n".join([f"| {title} | |", "|---|---|", *lines])
