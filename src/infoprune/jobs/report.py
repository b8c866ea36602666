"""Report: the job of `infoprune report`."""

from __future__ import annotations

from infoprune.errors import InputError
from infoprune.files.json_file import read_text
from infoprune.jobs.inputs import StrPath
from infoprune.reports.report import Report
from infoprune.sources.models import model_folder

REPORT = "report.json"


def read_report(folder: StrPath) -> Report:
    """Read the report in a folder that `prune_folder` wrote, or in a repository on the hub with its files.

    Raises:
        InputError: There is none, or it is damaged.
    """
    file = model_folder(folder, weights=False) / REPORT
    if not file.is_file():
        raise InputError(f"{folder}: no {REPORT} in it, expected a folder written by infoprune prune; check the path")
    return Report.from_json(read_text(file, "the file is damaged, prune again"))
