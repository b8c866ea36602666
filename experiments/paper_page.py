"""The page docs/research/paper.md, from the cells of the paper's table."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

from experiments.cells import OLDER_REPAIR
from experiments.curves import plot
from infoprune.gradual_pruning.sparsify import RATE
from infoprune.gradual_pruning.table import TRAINED

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
    """Write the page: figures of the test split, and the search of rates on the validation split."""
    lines = [
        "# The paper's table: pruning during training and before it",
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
            plot(
                curves(some),
                accuracy,
                picture(page, task),
                title=f"{title}: pruned during training, or before it",
                share="weights left in the layers' linear maps, % of dense",
            )
    lines += ["## Search of rates", "", *LOOKS, "", *looks(rows)]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def picture(page: Path, task: str) -> Path:
    """Return the file of the picture of a task, beside the page."""
    return page.with_name(f"paper-{task.replace('_', '-')}.png")


def curves(rows: Sequence[dict]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Of every method: share of the weights that is left, and mean, lowest and highest accuracy."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for method, sparsity in product(NAMES, SPARSITIES):
        some = [r["test"]["accuracy"] for r in rows if (r["method"], r["sparsity"]) == (method, sparsity)]
        if some:
            found.setdefault(NAMES[method], []).append((1 - sparsity / 100, fmean(some), min(some), max(some)))
    return found


PREFACE = (
    "MiniLM is fine-tuned on a task and then made sparse. All methods remove the same share of the layers' linear",
    "weights (Q, K, V, O, up, down). All have the same steps and inputs (those of the dense model's own fine-tuning,",
    "less the twentieth that is held out), the same batches in the same order, and the same loss: on the dense model's",
    "outputs and hidden states, and on the labels (weight 1 each).",
    "",
    "* *magnitude*, *movement*, *soft movement*: single weights, chosen during training",
    "  ([card](criteria/movement.md)).",
    "* *L0*, *structured magnitude*: neurons and heads, chosen during training ([L0](criteria/l0.md), [structured",
    "  magnitude](criteria/structured-magnitude.md)).",
    "* *Fan2021*: removes the neurons and heads with the least information about the preserved units above ([as we",
    "  read it](criteria/fan2021.md)), the same share of every layer; cut without compensation, then trained.",
    "* *ours*: neurons and heads, sizes of the layers by their losses; cut, compensated, repaired on 1,024 training",
    "  texts without labels, then trained by `distill`, which chooses its learning rate and keeps the model that is",
    "  best on held-out texts.",
    "",
    "*File* is a safetensors file, which stores zeros like other numbers. *File, sparse* is the size of the same",
    "weights in compressed rows with column numbers of four bytes, or dense where that is smaller. The speed-up is",
    "measured against the dense model, in alternating runs on one thread of a shared machine, in float32, with dense",
    "kernels, and where there are zeros also with the sparse kernels of torch (compressed rows, MKL).",
    "",
    *OLDER_REPAIR,
    "Made by `python -m experiments.paper`; only cells that have been computed are shown. One seed is one dense model,",
    "one sample of calibration texts and one order of the training, so differences below a point mean little. Seconds",
    "are of one thread on machines that did other work too, and are approximate. They do not include the cut and the",
    "repair, and are missing for cells that were trained on a GPU.",
    "",
    "Movement pruning was published with tens of thousands of steps. Here every method has as many steps as the dense",
    "model had, which is a few hundred. While the scores of movement pruning rise from zero, its masks change at every",
    "step. On the news, which has the fewest steps, the remaining network predicts one class for every input. This",
    "shows how much training the method needs, and nothing about its result with that much training. Five of the 500",
    "news articles are one point, so compare the KL there.",
)
LOOKS = (
    "The search was done on the validation split. It varies the learning rate of the weights, and whether the training",
    "starts from the dense model, as in the tables above, or from the pretrained model that the dense model was",
    f"fine-tuned from, as the authors of movement pruning do. The tables above use the learning rate {RATE:g}, the",
    "best for movement and for structured magnitude, for all methods that prune during training. Rates that are not",
    "listed here have not been tried. *Fan2021* and *ours* have the learning rate that `distill` chooses from the loss",
    "of the cut.",
)


def is_default(row: dict) -> bool:
    """Return whether a cell was computed with the default rates of the library."""
    method = TRAINED.get(row["method"])
    return method is None or (row["rate"], row["score_rate"], row.get("start")) == (RATE, method.rate, None)


def table(rows: Sequence[dict]) -> Iterator[str]:
    """Yield one line for every sparsity and method with computed cells."""
    yield (
        "| sparsity | method | seeds | accuracy | points lost | KL (nats) | weights left | parameters stored "
        "| not zero | file | file, sparse | speed-up, dense kernels | speed-up, sparse kernels | seconds of training |"
    )
    yield "|" + "---|" * 14
    for sparsity in SPARSITIES:
        for method, name in NAMES.items():
            some = [row for row in rows if (row["sparsity"], row["method"]) == (sparsity, method)]
            if some:
                yield f"| {sparsity} % | {name} | {len(some)} | {' | '.join(columns(some))} |"


def columns(rows: Sequence[dict]) -> Iterator[str]:
    """Yield means over the seeds."""
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
    """Yield the methods that are better than ours at each sparsity, by the mean over the seeds that both have."""
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
            f"* {sparsity} %: higher accuracy than ours: {', '.join(more) or 'none'}; lower KL than ours: "
            f"{', '.join(nearer) or 'none'}."
        )


def looks(rows: Sequence[dict]) -> Iterator[str]:
    """Yield validation figures of all cells that differ from others in a rate only."""
    yield "| task | sparsity | method | starts from | rate of weights | rate of scores | accuracy | KL (nats) |"
    yield "|" + "---|" * 8
    order = list(NAMES)
    several = [
        row for row in rows if any(other is not row and all(other[key] == row[key] for key in SAME) for other in rows)
    ]
    for row in sorted(several, key=lambda r: (r["task"], r["sparsity"], order.index(r["method"]), r["rate"] or 0)):
        scored = f"{row['score_rate']:g}" if TRAINED[row["method"]].score != "magnitude" else ""
        figures = row["validation"]
        yield (
            f"| {TITLES[row['task']]} | {row['sparsity']} % | {NAMES[row['method']]} | {row.get('start') or 'dense'} "
            f"| {row['rate']:g} | {scored} | {figures['accuracy']:.2%} | {figures['kl']:.4f} |"
        )


SAME = ("task", "sparsity", "method", "seed", "epochs")
