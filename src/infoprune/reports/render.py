"""Render: a report as tables for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from infoprune.measuring.measure import Latency
from infoprune.reports.report import SENTENCE_TRANSFORMERS, Report
from infoprune.tasks.compare import OVERLAP
from infoprune.tasks.table import TASKS, Reads, reads_of

SHARES = ("accuracy", "macro_f1", "micro_f1", "agreement", OVERLAP, "word_error_rate", "same_words")
"""Metrics between 0 and 1 that are printed in per cent."""

_PREFIXES = ("", " k", " M", " G", " T", " P", " E")

SIZES = "sizes.png"
"""File name of the picture of kept units, beside report.md."""

PREPROCESSORS: dict[Reads, tuple[str, str]] = {
    "texts": ("tokenizer", "AutoTokenizer"),
    "pictures": ("processor", "AutoImageProcessor"),
    "clips": ("processor", "AutoProcessor"),
}
"""Variable and class by which the code that opens a folder opens what prepares its inputs."""
EXTRACTOR = ("extractor", "AutoFeatureExtractor")
"""The same for a model of clips that writes no transcripts."""

FOLDER = "folder"
"""Name of the folder in the code that opens it, where none is given."""

Row = tuple[str, str, str, str]


def table(report: Report) -> Table:
    """Return the table of sizes, latency and scores: dense, pruned and change."""
    result = Table(title=heading(report))
    for index, name in enumerate(("", "dense", "pruned", "change")):
        result.add_column(name, justify="right" if index else "left")
    for row in cost_rows(report):
        result.add_row(*row)
    return result


def kept_table(kept: Mapping[str, tuple[int, int]]) -> Table:
    """Return the table of kept units: a row for each layer, a column for each type of structure."""
    header, rows = _kept_rows(kept)
    result = Table(title="units kept")
    for index, name in enumerate(header):
        result.add_column(name, justify="right" if index else "left")
    for row in rows:
        result.add_row(*row)
    return result


def metrics_table(
    metrics: Mapping[str, float], *, title: str, against: tuple[str, Mapping[str, float]] | None = None
) -> Table:
    """Return a table of metrics by name.

    Args:
        metrics: The metrics; those called "seconds" are times.
        title: Title of the table.
        against: Name of another model, and its metrics on the same texts; they become a column of their own.
    """
    result = Table(title=title)
    result.add_column("metric")
    result.add_column("value", justify="right")
    if against is not None:
        result.add_column(against[0], justify="right")
    for name, value in metrics.items():
        row = [name.replace("_", " "), f"{value:.1f}" if name == "seconds" else metric(name, value)]
        if against is not None:
            row.append(metric(name, against[1][name]) if name in against[1] else "")
        result.add_row(*row)
    return result


def summary(report: Report) -> list[str]:
    """Return sentences on the criterion, the time, the dropped tokens and how to load the result."""
    return [*_making(report), loading(report.loads_in)]


def _making(report: Report) -> list[str]:
    lost = "" if report.nats_lost is None else f", predicted loss {report.nats_lost:.4f} nats per input"
    seconds = ", ".join(f"{name} {spent:.1f} s" for name, spent in report.seconds.items() if spent >= 0.05)
    lines = [
        f"Chosen by {report.criterion} from {report.samples:,} calibration inputs, seed {report.seed}{lost}.",
        f"Time: {seconds}.",
    ]
    return [*lines, *_dropped_tokens(report)]


def _dropped_tokens(report: Report) -> list[str]:
    """Return sentences on the handling of dropped tokens and on their share in new texts."""
    lines = []
    if report.mapped is not None:
        lines.append(f"{report.mapped:,} dropped tokens are remapped to kept ones; the tokenizer is not changed.")
    if report.missing is not None:
        handled = "split into shorter ones" if report.mapped is None else "remapped"
        lines.append(f"About {report.missing:.1%} of the tokens of new, similar texts will be {handled}.")
    return lines


def loading(loads_in: str) -> str:
    """Return a sentence on how to load the result."""
    if loads_in == "transformers":
        return "The result loads in plain transformers (from_pretrained) and with infoprune.load."
    return (
        "The result loads in transformers (from_pretrained) after import infoprune, and with infoprune.load; a stock "
        "transformers config cannot specify its shapes."
    )


def opening(report: Report, name: str = FOLDER) -> str:
    """Return the Python code that opens the result.

    Args:
        report: Report of the prune.
        name: Path of the folder, or its name on the hub.
    """
    auto = next((task.auto for task in TASKS if task.name == report.task), "AutoModel")
    served = any(task.served for task in TASKS if task.name == report.task)
    lines = ["import infoprune  # registers how to open pruned sizes"] if report.loads_in == "infoprune" else []
    if report.library == SENTENCE_TRANSFORMERS:
        lines += ["from sentence_transformers import SentenceTransformer", "", f'model = SentenceTransformer("{name}")']
    elif served:
        silent = report.task in ("audio-classification", "audio-embedding")
        variable, preprocessor = EXTRACTOR if silent else PREPROCESSORS[reads_of(report.task)]
        lines += [
            f"from transformers import {auto}, {preprocessor}",
            "",
            f'model = {auto}.from_pretrained("{name}")',
            f'{variable} = {preprocessor}.from_pretrained("{name}")',
        ]
    else:
        lines += [f"from transformers import {auto}", "", f'model = {auto}.from_pretrained("{name}")']
    return "\n".join(lines)


def kept_in_words(kept: Mapping[str, tuple[int, int]]) -> str:
    """Return the kept units, summed by type of structure.

    Examples:
        >>> kept_in_words({"layers.0.heads": (3, 12), "layers.1.heads": (3, 12)})
        '6 of 24 heads'
    """
    sums: dict[str, tuple[int, int]] = {}
    for site, (units, of) in kept.items():
        _, structure = layer_and_structure(site)
        before = sums.get(structure, (0, 0))
        sums[structure] = (before[0] + units, before[1] + of)
    return ", ".join(f"{units:,} of {of:,} {unit_name(structure)}" for structure, (units, of) in sums.items())


def markdown(report: Report, name: str = FOLDER) -> str:
    """Return the text of report.md: the rows of `table`, the method, and how to load the result.

    Args:
        report: Report of the prune.
        name: Path of the folder, or its name on the hub, for the code that opens it.
    """
    header, kept = _kept_rows(report.kept)
    parts = [
        f"# A pruned {report.family} model for {report.task}",
        f"It keeps {kept_in_words(report.kept)}.",
        _markdown_table(("", "dense", "pruned", "change"), cost_rows(report)),
        f"FLOPs and latency are those of one forward pass over {report.shape[0]} inputs of {report.shape[1]} tokens; "
        "the latency is the median, with the quartiles in brackets.",
        "## How it was made",
        "\n".join(f"- {line}" for line in _making(report)),
        "## How to load it",
        loading(report.loads_in),
        f"```python\n{opening(report, name)}\n```",
        "## Units kept",
        f"![units kept in every layer]({SIZES})",
        _markdown_table(header, kept),
    ]
    return "\n\n".join(parts) + "\n"


def human(number: float, unit: str = "") -> str:
    """Format a number with three digits and a prefix.

    Examples:
        >>> human(22_713_216), human(90_900_000, "B")
        ('22.7 M', '90.9 MB')
    """
    power = 0
    while abs(number) >= 999.5 and power + 1 < len(_PREFIXES):
        number, power = number / 1000, power + 1
    digits = f"{number:.0f}" if power == 0 or abs(number) >= 99.95 else f"{number:.{1 if abs(number) >= 9.995 else 2}f}"
    return f"{digits}{_PREFIXES[power] or (' ' if unit else '')}{unit}"


def metric(name: str, value: float) -> str:
    """Format a metric's value as is usual for it.

    Examples:
        >>> metric("accuracy", 0.842), metric("mse", 0.5)
        ('84.2 %', '0.5000')
    """
    return f"{100 * value:.1f} %" if name in SHARES else f"{value:.4f}"


def heading(report: Report) -> str:
    """Return a title of the report."""
    return f"{report.family} {report.task}, {report.criterion}: {kept_in_words(report.kept)}"


def cost_rows(report: Report) -> list[Row]:
    """Return rows of sizes, latency and scores: name, dense, pruned, change."""
    dense, pruned = report.dense, report.pruned
    rows = [
        ("parameters", human(dense.parameters), human(pruned.parameters), _fewer(dense.parameters, pruned.parameters)),
        *_active(dense.active_parameters, pruned.active_parameters),
        ("FLOPs", human(dense.flops), human(pruned.flops), _fewer(dense.flops, pruned.flops)),
        (
            "size",
            human(dense.bytes, "B"),
            human(pruned.bytes, "B"),
            _times(dense.bytes, pruned.bytes, "smaller", "larger"),
        ),
    ]
    if dense.latency_ms is not None and pruned.latency_ms is not None:
        change = _times(dense.latency_ms.median, pruned.latency_ms.median, "faster", "slower")
        rows.append(("latency", _milliseconds(dense.latency_ms), _milliseconds(pruned.latency_ms), change))
    for name, after in pruned.metrics.items():
        before = dense.metrics.get(name)
        known = "" if before is None else metric(name, before)
        rows.append((name.replace("_", " "), known, metric(name, after), _difference(name, before, after)))
    if report.agreement is not None:
        name = "cosine" if report.task in ("embedding", "image-embedding") else "agreement"
        rows.append((name, "", metric(name, report.agreement), ""))
    if report.kl is not None:
        rows.append(("KL (nats)", "", f"{report.kl:.4f}", ""))
    for name, value in (("correlation", report.correlation), ("squared_difference", report.squared_difference)):
        if value is not None:
            rows.append((f"{name.replace('_', ' ')} to dense", "", metric(name, value), ""))
    return rows


def _kept_rows(kept: Mapping[str, tuple[int, int]]) -> tuple[Sequence[str], list[Sequence[str]]]:
    found = {layer_and_structure(site): counts for site, counts in kept.items()}
    structures = list(dict.fromkeys(structure for _, structure in found))
    rows: list[Sequence[str]] = []
    for layer in dict.fromkeys(layer for layer, _ in found):
        counts = [found.get((layer, structure)) for structure in structures]
        rows.append([layer, *("" if count is None else f"{count[0]:,} of {count[1]:,}" for count in counts)])
    return ["layer", *map(unit_name, structures)], rows


def layer_and_structure(site: str) -> tuple[str, str]:
    """Return the layer of a site and its type of structure.

    Examples:
        >>> layer_and_structure("layers.0.ffn"), layer_and_structure("vocabulary")
        (('layers.0', 'ffn'), ('all layers', 'vocabulary'))
    """
    layer, _, structure = site.rpartition(".")
    return layer or "all layers", structure


def unit_name(structure: str) -> str:
    """Return the name of the units of a type of structure."""
    return {
        "ffn": "neurons",
        "expert-neurons": "neurons of each expert",
        "vocabulary": "tokens",
        "hidden-size": "coordinates",
        "pooler": "hidden neurons",
    }.get(structure, structure)


def _active(before: int | None, after: int | None) -> list[Row]:
    if before is None or after is None:
        return []
    return [("of these a token reads", human(before), human(after), _fewer(before, after))]


def _fewer(before: float, after: float) -> str:
    return _times(before, after, "fewer", "more")


def _times(before: float, after: float, less: str, more: str) -> str:
    if min(before, after) <= 0:
        return ""
    return f"{before / after:.2f}x {less}" if after <= before else f"{after / before:.2f}x {more}"


def _difference(name: str, before: float | None, after: float) -> str:
    if before is None:
        return ""
    return f"{100 * (after - before):+.1f} points" if name in SHARES else f"{after - before:+.4f}"


def _milliseconds(latency: Latency) -> str:
    return f"{latency.median:.1f} ms ({latency.low:.1f} to {latency.high:.1f})"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|".join(["---", *["---:"] * (len(header) - 1)])
    lines = [" | ".join(header), rule, *(" | ".join(row) for row in rows)]
    return "\n".join(f"|{line}|" if line == rule else f"| {line} |" for line in lines)
