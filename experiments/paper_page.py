"""docs/paper.md from the cells of the paper's table."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

from experiments.cells import OLDER_REPAIR
from experiments.curves import draw
from infoprune.methods.trained.sparsify import RATE
from infoprune.methods.trained.table import TRAINED

SPARSITIES = (50, 70, 80, 90, 95)
NAMES = {
    "magnitude": "magnitude",
    "movement": "movement",
    "soft-movement": "soft movement",
    "l0": "L0",
    "structured-magnitude": "structured magnitude",
    "fan2021": "Fan2021, as we read it",
    "information": "ours",
}
TITLES = {"movie_reviews": "Movie reviews", "topics": "BBC topics, 64 tokens"}
NUMBERS = ("share", "parameters", "nonzero", "bytes", "sparse_bytes")


def write_page(page: Path, rows: Sequence[dict]) -> None:
    """The page, with the figures of the test split, and what was looked at on the validation split."""
    lines = [
        "# The paper's table: choosing while training, and cutting before it",
        "",
        *PREFACE,
        "",
    ]
    for task, title in TITLES.items():
        some = [row for row in rows if row["task"] == task and is_default(row)]
        if some:
            accuracy = fmean(row["test"]["dense_accuracy"] for row in some)
            steps = max(row["steps"] for row in some)
            lines += [f"## {title}", "", f"Dense accuracy: {accuracy:.2%}. {steps} steps.", "", *table(some), ""]
            lines += [*verdicts(some), "", f"![accuracy against the weights left]({picture(page, task).name})", ""]
            draw(
                curves(some),
                accuracy,
                picture(page, task),
                title=f"{title}: chosen while training, or cut before it",
                share="weights left in the layers' linear maps, % of dense",
            )
    lines += ["## What was looked at", "", *LOOKS, "", *looks(rows)]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def picture(page: Path, task: str) -> Path:
    """Where a task's curves are drawn, beside the page."""
    return page.with_name(f"paper-{task.replace('_', '-')}.png")


def curves(rows: Sequence[dict]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Of every method: share of the weights that is left, and mean, lowest and highest accuracy."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for method, sparsity in product(NAMES, SPARSITIES):
        said = [r["test"]["accuracy"] for r in rows if (r["method"], r["sparsity"]) == (method, sparsity)]
        if said:
            found.setdefault(NAMES[method], []).append((1 - sparsity / 100, fmean(said), min(said), max(said)))
    return found


PREFACE = (
    "MiniLM fine-tuned on a task, made sparse: how much of the layers' linear weights (Q, K, V, O, up, down) goes",
    "is the same for all methods, and so are the steps and the inputs (those of the dense model's own fine-tuning,",
    "less the twentieth that is held out), the batches, their order, and the loss: the dense model's answers and",
    "hidden states, and the labels (weight 1 each).",
    "",
    "* *magnitude*, *movement*, *soft movement*: single weights, chosen while training",
    "  ([card](criteria/movement.md)).",
    "* *L0*, *structured magnitude*: neurons and heads, chosen while training ([L0](criteria/l0.md), [structured",
    "  magnitude](criteria/structured-magnitude.md)).",
    "* *Fan2021*: neurons and heads with the least information about the preserved ones above ([as we read",
    "  it](criteria/fan2021.md)), the same share of every layer, cut without compensation, then trained.",
    "* *ours*: neurons and heads, sizes of the layers by their losses; cut, compensated, repaired on 1,024 training",
    "  texts without labels, then trained by `distill`, which chooses its rate and keeps the best on held-out texts.",
    "",
    "*File* is a safetensors file, in which zeros take as much room as other numbers; *file, sparse* what the same",
    "weights take in compressed rows with column numbers of four bytes, or dense where that is less. The speed-up",
    "is measured against the dense model, in alternating runs on one thread of a shared machine, in float32, with",
    "dense kernels, and where there are zeros also with the sparse kernels of torch (compressed rows, MKL).",
    "",
    *OLDER_REPAIR,
    "Made by `python -m experiments.paper`; only cells that have been computed are shown. One draw is one dense",
    "model, one draw of calibration texts and one order of the training: differences below a point mean little, and",
    "seconds, of one thread on machines that did other work too, are to be compared loosely; those of the cut and",
    "the repair are not in them, nor those of cells that were trained on a GPU.",
    "",
    "Movement pruning was published with tens of thousands of steps; here all have what the dense model had, which is",
    "a few hundred. While its scores rise from zero the masks change at every step, and on the news, with the fewest",
    "steps, what is left answers with one class whatever it reads. That says how much training the method wants, and",
    "nothing about what it gives with as much. Of 500 news, five are a point: go by the KL there.",
)
LOOKS = (
    "On the validation split: the rate of learning of the weights, and whether the training begins with the dense",
    "model, which it does in the table, or with the pretrained one that the dense model was fine-tuned from, as the",
    f"authors of movement pruning do. The table has {RATE:g}, the best for movement and for structured magnitude, for",
    "all methods that choose while they train; what is not listed here has not been looked at. *Fan2021* and *ours*",
    "have the rate that `distill` chooses by how much the cut has lost.",
)


def is_default(row: dict) -> bool:
    """Whether a cell was computed with the rates of the library."""
    method = TRAINED.get(row["method"])
    return method is None or (row["rate"], row["score_rate"], row.get("start")) == (RATE, method.rate, None)


def table(rows: Sequence[dict]) -> Iterator[str]:
    """One line for every sparsity and method that there are cells of."""
    yield (
        "| sparsity | method | draws | accuracy | points lost | KL (nats) | weights left | parameters stored "
        "| not zero | file | file, sparse | speed-up, dense kernels | speed-up, sparse kernels | seconds of training |"
    )
    yield "|" + "---|" * 14
    for sparsity in SPARSITIES:
        for method, name in NAMES.items():
            some = [row for row in rows if (row["sparsity"], row["method"]) == (sparsity, method)]
            if some:
                yield f"| {sparsity} % | {name} | {len(some)} | {' | '.join(columns(some))} |"


def columns(rows: Sequence[dict]) -> Iterator[str]:
    """Means over the draws."""
    accuracy, dense, kl = (fmean(row["test"][key] for row in rows) for key in ("accuracy", "dense_accuracy", "kl"))
    mean = {key: fmean(row[key] for row in rows) for key in NUMBERS}
    yield f"{accuracy:.2%} | {100 * (dense - accuracy):.2f} | {kl:.4f}"
    yield f"{mean['share']:.1%} | {mean['parameters'] / 1e6:.1f}M | {mean['nonzero'] / 1e6:.1f}M"
    yield f"{mean['bytes'] / 1e6:.0f} MB | {mean['sparse_bytes'] / 1e6:.0f} MB"
    for kernels in ("ms", "sparse_ms"):
        faster = [row["dense_ms"] / row[kernels] for row in rows if row[kernels] is not None]
        yield f"{fmean(faster):.2f}x" if faster else ""
    seconds = [row["seconds"] for row in rows if row.get("device", "cpu") == "cpu"]
    yield f"{fmean(seconds):.0f}" if seconds else ""


def verdicts(rows: Sequence[dict]) -> Iterator[str]:
    """Who does better than ours on the mean of the draws that both have, at which sparsity."""
    for sparsity in SPARSITIES:
        at = {
            method: {r["seed"]: r["test"] for r in rows if (r["sparsity"], r["method"]) == (sparsity, method)}
            for method in NAMES
        }
        ours = at.pop("information")
        shared = {
            method: [(each[seed], ours[seed]) for seed in each.keys() & ours.keys()] for method, each in at.items()
        }
        shared = {method: pairs for method, pairs in shared.items() if pairs}
        if not shared:
            continue
        more, nearer = (
            [NAMES[name] for name, pairs in shared.items() if fmean(sign * (r[key] - o[key]) for r, o in pairs) > 0]
            for key, sign in (("accuracy", 1), ("kl", -1))
        )
        yield (
            f"* {sparsity} %: more accurate than ours: {', '.join(more) or 'none'}; nearer to the dense model: "
            f"{', '.join(nearer) or 'none'}."
        )


def looks(rows: Sequence[dict]) -> Iterator[str]:
    """Validation figures of all cells that differ from others in a rate alone."""
    yield "| task | sparsity | method | from | rate of weights | rate of scores | accuracy | KL (nats) |"
    yield "|" + "---|" * 8
    order = list(NAMES)
    several = [
        row for row in rows if any(other is not row and all(other[key] == row[key] for key in SAME) for other in rows)
    ]
    for row in sorted(several, key=lambda r: (r["task"], r["sparsity"], order.index(r["method"]), r["rate"] or 0)):
        scored = f"{row['score_rate']:g}" if TRAINED[row["method"]].score != "magnitude" else ""
        said = row["validation"]
        yield (
            f"| {TITLES[row['task']]} | {row['sparsity']} % | {NAMES[row['method']]} | {row.get('start') or 'dense'} "
            f"| {row['rate']:g} | {scored} | {said['accuracy']:.2%} | {said['kl']:.4f} |"
        )


SAME = ("task", "sparsity", "method", "seed", "epochs")
