import json

import pytest
from transformers import BertModel

from infoprune.cli import main

GRID = ("--criteria", "information,kwon,random", "--keep", "0.75,0.5")


def cells_of(folder):
    return [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]


def same(cells):
    """What does not depend on the clock."""
    timed = ("latency_ms", "dense_latency_ms", "seconds")
    return [{key: value for key, value in cell.items() if key not in timed} for cell in cells]


def test_a_grid_of_methods_sizes_and_draws(run, saved_bert, reviews, out):
    arguments = ("compare", saved_bert, out, "--data", reviews, "--eval", reviews, *GRID)
    status, printed, err = run(*arguments, "--seeds", 2, "--repair-method", "both", "--samples", 40)
    assert err == ""
    assert status == 0
    assert {file.name for file in out.iterdir()} == {"cells.jsonl", "comparison.md", "curves.png"}
    cells = cells_of(out)
    keys = [(cell["seed"], cell["goal"], cell["criterion"], cell["repair"]) for cell in cells]
    assert len(set(keys)) == len(keys) == 2 * 2 * 3 * 2
    for cell in cells:
        assert {"accuracy", "macro_f1", "agreement", "kl"} <= cell["metrics"].keys()
        assert cell["kept"]["layers.0.ffn"] == 64 * float(cell["goal"].partition("=")[2])
        assert 0 < cell["flops"] < 1
        assert 0 < cell["parameters"] < 1
        assert min(cell["latency_ms"], cell["dense_latency_ms"], cell["seconds"]) > 0
    ours = {key: cell for key, cell in zip(keys, same(cells), strict=True) if key[2] == "information"}
    for (seed, goal, name, repair), cell in ours.items():
        assert cell["metrics"] == ours[seed, goal, name, "own" if repair == "ours" else "ours"]["metrics"]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "comparison.md").read_text()
    for words in ("| keep=0.5 | ours | information | 2 |", "Dense: accuracy", "![curves](curves.png)"):
        assert words in page
    for words in ("24 cells.", "keep=0.5, own repair: ", "spread", str(out)):
        assert words in printed
    assert not list(out.parent.glob("*.unfinished"))


def test_it_goes_on_where_it_was_stopped(run, saved_bert, reviews, out, tmp_path):
    arguments = ("compare", saved_bert, out, "--data", reviews, "--eval", reviews, *GRID)
    status, printed, _ = run(*arguments)
    assert status == 0
    whole = cells_of(out)
    left = tmp_path / "again.unfinished"
    left.mkdir()
    stored = [{"run": run_of(saved_bert, reviews, out, arguments, run), **cell} for cell in whole[:4]]
    stored[0]["metrics"]["kl"] = 77.0  # seen again below: it was not computed anew
    lines = [json.dumps(cell) for cell in stored] + [json.dumps({**stored[1], "run": "of others", "goal": "keep=0.75"})]
    (left / "cells.jsonl").write_text("\n".join(lines) + '\n{"run": "cut o')
    again = tmp_path / "again"
    status, printed, err = run("compare", saved_bert, again, *arguments[3:])
    assert (status, err) == (0, "")
    assert "6 cells, 4 of them already computed." in printed
    assert not left.exists()
    assert cells_of(again)[0]["metrics"]["kl"] == 77.0
    assert same(cells_of(again))[1:] == same(whole)[1:]


def run_of(saved_bert, reviews, out, arguments, run):
    """The digest that a killed run has left: one that was stopped after its first cell."""
    stopped = out.parent / "stopped"

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infoprune.jobs.compare.comparison_markdown", stop)
        assert main([str(each) for each in ("compare", saved_bert, stopped, *arguments[3:])]) == 1
    left = out.parent / "stopped.unfinished" / "cells.jsonl"
    assert not stopped.exists()
    return json.loads(left.read_text().splitlines()[0])["run"]


def test_a_budget_is_divided_by_each(run, saved_bert, reviews, out):
    grid = ("--criteria", "information,kwon,flap,brain-surgeon,kprune", "--budget", "flops=0.6,params=0.7")
    status, _, err = run(
        "compare", saved_bert, out, "--data", reviews, "--eval", reviews, *grid, "--repair-method", "own"
    )
    assert (status, err) == (0, "")
    for cell in cells_of(out):
        quantity, share = cell["goal"].split("=")
        assert cell["parameters" if quantity == "params" else quantity] <= float(share)


def test_embeddings_are_compared_without_labels(run, tiny_bert, tokenizer, reviews, out, tmp_path):
    folder = tmp_path / "embedder"
    BertModel(tiny_bert.config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    status, printed, err = run("compare", folder, out, "--data", reviews, "--eval", reviews, *GRID)
    assert (status, err) == (0, "")
    assert {"cosine", "neighbour_overlap@10"} == cells_of(out)[0]["metrics"].keys()
    assert "is best, cosine" in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--criteria", "guess", "--keep", "0.5"), ("criterion 'guess' is not known", "kprune")),
        (("--criteria", ",", "--keep", "0.5"), ("--criteria is empty", "--criteria information,wanda")),
        (("--criteria", "wanda"), ("neither --keep nor --budget", "--keep 0.5,0.25")),
        (("--criteria", "wanda", "--keep", "0.5,half"), ("--keep is 'half'", "0.5,0.25")),
        (("--criteria", "wanda", "--keep", "0.01"), ("leaves no head", "layers.0.heads")),
        (("--criteria", "wanda,slicegpt", "--keep", "0.5"), ("stream of this bert cannot be rotated", "as in Llama")),
        (("--criteria", "wanda", "--budget", "flops=2"), ("budget is flops=2",)),
        (
            ("--criteria", "wanda", "--keep", "0.5", "--repair-method", "mine"),
            ("--repair-method is 'mine'", "--repair-method both"),
        ),
        (("--criteria", "wanda", "--keep", "0.5", "--seeds", "0"), ("--seeds is 0",)),
    ],
)
def test_refusals(refused, saved_bert, reviews, out, options, words):
    refused("compare", saved_bert, out, "--data", reviews, "--eval", reviews, *options, words=words)


def test_texts_to_measure_on_are_needed(refused, saved_bert, reviews, out):
    refused("compare", saved_bert, out, "--data", reviews, *GRID, words=("pass --eval FILE",))
