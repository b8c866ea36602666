"""Pruning times quantisation on the movie reviews: folders, graphs and int8 graphs in one table.

Run: python -m benchmarks.serving
"""

import argparse
from pathlib import Path

from experiments.movie_reviews import dense_folder, splits
from infoprune.cli import main as infoprune

OUT = Path("runs/serving")


def main() -> None:
    """Prunes, exports and compares with the commands of the command line; what is there already is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    files = splits()
    folders = {"dense": dense_folder()}
    for keep in options.keeps:
        folders[f"keep-{keep:g}"] = folder = OUT / f"keep-{keep:g}"
        if not folder.is_dir():
            run("prune", folders["dense"], folder, "--data", files["train"], "--keep", keep)
    models = []
    for name, folder in folders.items():
        graphs = {OUT / f"{name}.onnx": (), OUT / f"{name}-int8.onnx": ("--int8",)}
        for graph, how in graphs.items():
            if not graph.is_file():
                run("export", folder, graph, "--data", files["validation"], *how)
        models += [folder, *graphs]
    run("bench", *models, "--eval", files["test"], "--repeats", options.repeats)


def run(*arguments: object) -> None:
    """One command; a failure ends the benchmark."""
    if status := infoprune([str(argument) for argument in arguments]):
        raise SystemExit(status)


if __name__ == "__main__":
    main()
