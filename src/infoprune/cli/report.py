"""`infoprune report`."""

from typing import Annotated

import typer

from infoprune.cli.console import stdout


def report_command(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder from infoprune prune, or its name on the Hub.")],
) -> None:
    """Print the report of a pruned model again."""
    from infoprune.jobs.report import read_report
    from infoprune.reports.render import kept_table, summary, table

    report = read_report(out)
    console = stdout()
    console.print(table(report))
    console.print(kept_table(report.kept))
    for line in summary(report):
        console.print(line, soft_wrap=True)
