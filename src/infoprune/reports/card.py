"""Card: README.md of a pruned model with metadata for a model hub, made from its report and from the source's card."""

from __future__ import annotations

import re

from huggingface_hub import ModelCardData

from infoprune.reports.origin import Origin
from infoprune.reports.render import FOLDER, markdown
from infoprune.reports.report import SENTENCE_TRANSFORMERS, Report
from infoprune.tasks.table import reads_of

PIPELINES = {
    "classification": "text-classification",
    "image-classification": "image-classification",
    "masked-lm": "fill-mask",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "causal-lm": "text-generation",
    "speech-recognition": "automatic-speech-recognition",
    "ctc": "automatic-speech-recognition",
    "audio-classification": "audio-classification",
    "image-text-to-text": "image-text-to-text",
    "seq2seq": "text2text-generation",
    "embedding": "feature-extraction",
    "image-embedding": "image-feature-extraction",
    "audio-embedding": "feature-extraction",
}
SIMILARITY = "sentence-similarity"
"""What the hub names the task of sentence-transformers."""

METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "micro_f1": "f1", "pearson": "pearsonr", "mse": "mse"}
"""Names of the metrics on the hub."""


def card(report: Report, origin: Origin | None = None, name: str = FOLDER) -> str:
    """Return the text of README.md: metadata in YAML, origin, sizes and scores, how to open it, and limitations.

    Args:
        report: Report of the prune.
        origin: What the card of the dense model says: its licence, languages and tags hold for the pruned one too.
        name: Name of the folder in the code that opens it.

    Examples:
        >>> print(card(report)[:30])
        ---
        library_name: transformers
    """
    origin = origin or Origin()
    base = report.base_model or origin.base_model
    data = ModelCardData(
        language=list(origin.language) or None,
        license=origin.license,
        license_name=origin.license_name,
        license_link=origin.license_link,
        library_name=report.library,
        tags=list(dict.fromkeys(["infoprune", "pruned", "structured-pruning", report.family, *origin.tags])),
        base_model=base,
        pipeline_tag=SIMILARITY if report.library == SENTENCE_TRANSFORMERS else PIPELINES.get(report.task),
        metrics=list(dict.fromkeys(METRICS[name] for name in report.pruned.metrics if name in METRICS)) or None,
    )
    title, _, rest = markdown(report, name).partition("\n\n")
    parts = [f"---\n{data.to_yaml()}\n---", title, _origin(report, base), rest.rstrip(), "## Limitations"]
    return "\n\n".join([*parts, _advice(report)]) + "\n"


def renamed(text: str, name: str, new: str) -> str:
    """Return the text of a card with another name in the code that opens the folder.

    Examples:
        >>> renamed('model = AutoModel.from_pretrained("half")', "half", "owner/name")
        'model = AutoModel.from_pretrained("owner/name")'
    """
    return re.sub(rf'(from_pretrained|Transformer)\("{re.escape(name)}"\)', rf'\1("{new}")', text)


def _origin(report: Report, base: str | None) -> str:
    if report.base_model:
        source = _link(report.base_model)
    else:
        source = "a dense model" + (f" based on {_link(base)}" if base else "")
    return (
        f"Made by infoprune from {source}: units were removed from its layers, and the matrices around them are "
        "smaller and dense. No special kernels are needed."
    )


def _link(name: str) -> str:
    return f"[{name}](https://huggingface.co/{name})"


def _advice(report: Report) -> str:
    reads = reads_of(report.task)
    lines = [
        f"Units were chosen and re-fitted on {report.samples:,} {reads}; on different {reads} the loss may be larger. "
        f"Compare it with the dense model on your own {reads}: `infoprune bench DENSE PRUNED --eval FILE`.",
        "It inherits the licence, the abilities and the biases of the dense model. Means over all inputs can hide "
        "losses in rare classes: check the classes that matter to you.",
    ]
    if not report.pruned.metrics and report.agreement is None and report.correlation is None:
        lines.append(f"It was not evaluated: no evaluation {reads} were given (`--eval`).")
    return "\n".join(f"- {line}" for line in lines)
