"""Card: README.md of a pruned model with metadata for a model hub, made from its report alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import ModelCardData

from infoprune.reports.render import markdown
from infoprune.reports.report import Report

PIPELINES = {
    "classification": "text-classification",
    "image-classification": "image-classification",
    "masked-lm": "fill-mask",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "causal-lm": "text-generation",
    "speech-recognition": "automatic-speech-recognition",
    "seq2seq": "text2text-generation",
    "embedding": "feature-extraction",
}
METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "micro_f1": "f1", "pearson": "pearsonr", "mse": "mse"}
"""Names of the metrics on the hub."""


def card(report: Report) -> str:
    """Return the text of README.md: metadata in YAML, origin, sizes and scores, method, and limitations.

    Examples:
        >>> print(card(report)[:30])
        ---
        library_name: infoprune
    """
    data = ModelCardData(
        library_name=report.loads_in,
        tags=["infoprune", "pruned", "structured-pruning", report.family],
        base_model=report.base_model,
        pipeline_tag=PIPELINES.get(report.task),
        metrics=list(dict.fromkeys(METRICS[name] for name in report.pruned.metrics if name in METRICS)) or None,
    )
    title, _, rest = markdown(report).partition("\n\n")
    parts = [f"---\n{data.to_yaml()}\n---", title, _origin(report), rest.rstrip(), "## Limitations", _advice(report)]
    return "\n\n".join(parts) + "\n"


def base_model(config: Mapping[str, object]) -> str | None:
    """Return the model's name on the hub, if its config has one.

    Args:
        config: Contents of config.json.

    Examples:
        >>> base_model({"_name_or_path": "nreimers/MiniLM-L6-H384-uncased"})
        'nreimers/MiniLM-L6-H384-uncased'
    """
    name = config.get("_name_or_path")
    # A folder's path may look like a name on the hub: owner/name.
    known = isinstance(name, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) and not Path(name).exists()
    return str(name) if known else None


def _origin(report: Report) -> str:
    source = (
        f"[{report.base_model}](https://huggingface.co/{report.base_model})" if report.base_model else "a dense model"
    )
    return (
        f"Made by infoprune from {source}: units were removed from its layers, and the matrices around them are "
        "smaller and dense. No special kernels are needed."
    )


def _advice(report: Report) -> str:
    lines = [
        f"Units were chosen and re-fitted on {report.samples:,} texts; on different texts the loss may be larger. "
        "Compare it with the dense model on your own texts: `infoprune bench DENSE PRUNED --eval FILE`.",
        "It inherits the licence, the abilities and the biases of the dense model. Means over all inputs can hide "
        "losses in rare classes: check the classes that matter to you.",
    ]
    if not report.pruned.metrics and report.kl is None:
        lines.append("It was not evaluated: no evaluation texts were given (`--eval`).")
    return "\n".join(f"- {line}" for line in lines)
