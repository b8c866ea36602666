from dataclasses import replace

import pytest
from matplotlib.image import imread

from infoprune.reports.comparison import Cell, Spread, comparison_markdown, findings, measure_of, rows
from infoprune.reports.curves import plot_curves

CELL = Cell(
    criterion="information",
    repair="ours",
    goal="keep=0.5",
    seed=0,
    metrics={"accuracy": 0.8, "agreement": 0.95, "kl": 0.02},
    dense={"accuracy": 0.84},
    parameters=0.7,
    flops=0.5,
    latency_ms=5.0,
    dense_latency_ms=10.0,
)


def cells(criterion, *kls, key="kl", **options):
    return [
        replace(CELL, criterion=criterion, seed=seed, metrics={**CELL.metrics, key: kl}, **options)
        for seed, kl in enumerate(kls)
    ]


def test_differences_beyond_the_spread():
    grid = [*cells("wanda", 0.04, 0.06), *cells("information", 0.01, 0.02), *cells("kwon", 0.018, 0.03)]
    assert findings(grid) == [
        "keep=0.5, our repair: information is best, KL (nats) 0.0150 (0.0100 to 0.0200): "
        "beyond the spread of the seeds better than wanda; within the spread of kwon."
    ]


def test_with_one_seed_the_spread_is_not_known():
    (sentence,) = findings([*cells("wanda", 0.04), *cells("kwon", 0.03)])
    assert sentence == (
        "keep=0.5, our repair: kwon is best, KL (nats) 0.0300, followed by wanda 0.0400; "
        "with one seed the spread is not known."
    )
    assert not Spread.of([0.1]).apart(Spread.of([0.2, 0.3]))


def test_a_baseline_that_is_better_is_named_first():
    (sentence,) = findings([*cells("information", 0.04, 0.05), *cells("kwon", 0.01, 0.02)])
    assert sentence.endswith(
        "kwon is best, KL (nats) 0.0150 (0.0100 to 0.0200): beyond the spread of the seeds better than information."
    )


def test_one_method_has_nobody_beside_it():
    assert findings(cells("kwon", 0.03)) == ["keep=0.5, our repair: kwon is best, KL (nats) 0.0300."]


def test_more_is_better_for_cosines():
    bare = [replace(each, metrics={"cosine": each.metrics["cosine"]}) for each in cells("a", 0.8, key="cosine")]
    bare += [replace(each, metrics={"cosine": 0.9}, criterion="b") for each in bare]
    (sentence,) = findings(bare)
    assert "b is best, cosine 0.9000, followed by a 0.8000" in sentence


def test_numbers_without_labels_say_nothing():
    silent = [replace(CELL, metrics={})]
    assert measure_of(silent) is None
    assert "the methods cannot be ranked" in findings(silent)[0]
    assert "| keep=0.5 | ours | information | 1 |" in comparison_markdown(silent)


def test_the_table_has_a_row_for_every_goal_repair_and_method_the_best_first():
    grid = [*cells("wanda", 0.04), *cells("kwon", 0.03), *cells("kwon", 0.5, goal="keep=0.25", repair="own")]
    heading, table = rows(grid)
    assert heading[:6] == ["goal", "repair", "criterion", "seeds", "KL (nats)", "accuracy"]
    assert [row[:5] for row in table] == [
        ["keep=0.5", "ours", "kwon", "1", "0.0300"],
        ["keep=0.5", "ours", "wanda", "1", "0.0400"],
        ["keep=0.25", "own", "kwon", "1", "0.5000"],
    ]
    assert table[0][5:] == ["80.00%", "95.00%", "50.0%", "70.0%", "2.00x", "0"]
    assert "Dense: accuracy 84.00%." in comparison_markdown(grid)


@pytest.mark.parametrize("silent", [False, True], ids=["metrics", "no metrics"])
def test_curves(tmp_path, silent):
    grid = [
        *cells("wanda", 0.04, 0.05),
        *cells("wanda", 0.02, 0.03, goal="keep=0.75", flops=0.75, parameters=0.85),
        *cells("kwon", 0.01, repair="own"),
    ]
    if silent:
        grid = [replace(cell, metrics={}, dense={}) for cell in grid]
    plot_curves(grid, tmp_path / "curves.png")
    picture = imread(tmp_path / "curves.png")
    assert picture.shape[0] > 500
    assert len({tuple(pixel) for pixel in picture[::5, ::5].reshape(-1, picture.shape[-1]).round(2)}) > 10
