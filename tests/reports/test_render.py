import ast
from dataclasses import replace

import pytest
import transformers
from matplotlib.pyplot import imread
from reports import REPORT
from rich.console import Console

from infoprune.measuring.measure import Latency
from infoprune.reports.picture import plot_sizes
from infoprune.reports.render import (
    SIZES,
    human,
    kept_in_words,
    kept_table,
    loading,
    markdown,
    metric,
    metrics_table,
    opening,
    summary,
    table,
)
from infoprune.tasks.table import TASKS


def printed(renderable):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def rows(text):
    """The cells of every line that has any, without the frame."""
    return [[cell.strip() for cell in line.strip("│| ").split("│")] for line in text.splitlines() if "│" in line]


def test_table_sets_dense_beside_pruned():
    assert rows(printed(table(REPORT))) == [
        ["parameters", "22.7 M", "13.0 M", "1.75x fewer"],
        ["FLOPs", "91.2 G", "22.8 G", "4.00x fewer"],
        ["size", "90.9 MB", "52.0 MB", "1.75x smaller"],
        ["latency", "100.0 ms (98.0 to 103.0)", "25.0 ms (24.5 to 26.0)", "4.00x faster"],
        ["accuracy", "84.2 %", "83.5 %", "-0.7 points"],
        ["mse", "0.5000", "0.6250", "+0.1250"],
        ["agreement", "", "97.1 %"],
        ["KL (nats)", "", "0.0312"],
    ]


def test_table_leaves_out_what_was_not_measured():
    bare = replace(
        REPORT,
        dense=replace(REPORT.dense, latency_ms=None, metrics={}),
        pruned=replace(REPORT.pruned, latency_ms=None, metrics={}),
        agreement=None,
        kl=None,
    )
    assert [row[0] for row in rows(printed(table(bare)))] == ["parameters", "FLOPs", "size"]


def test_table_says_where_something_became_worse():
    slower = replace(REPORT, pruned=replace(REPORT.dense, latency_ms=Latency(125.0, 120.0, 130.0)))
    cells = {row[0]: row[-1] for row in rows(printed(table(slower)))}
    assert cells["latency"] == "1.25x slower"
    assert cells["parameters"] == "1.00x fewer"


def test_kept_table_has_a_row_a_layer_and_a_column_a_kind():
    text = printed(kept_table(REPORT.kept))
    assert "neurons" in text
    assert rows(text) == [["layers.0", "3 of 12", "384 of 1,536"], ["layers.1", "", "768 of 1,536"]]


def test_metrics_table():
    text = printed(metrics_table({"seconds": 1.25, "train_loss": 0.5, "macro_f1": 0.5}, title="scores"))
    assert rows(text) == [["seconds", "1.2"], ["train loss", "0.5000"], ["macro f1", "50.0 %"]]


def test_summary_names_the_choice_the_time_and_what_opens_the_result():
    choice, seconds, loads = summary(REPORT)
    assert (
        choice == "Chosen by information from 1,024 calibration inputs, seed 3, predicted loss 0.0201 nats per input."
    )
    assert seconds == "Time: collect 3.0 s, rank 1.5 s, repair 4.0 s, total 9.0 s."
    assert "infoprune.load" in loads
    assert "predicted" not in summary(replace(REPORT, nats_lost=None))[0]


@pytest.mark.parametrize("loads_in", ["infoprune", "transformers"])
def test_markdown_says_how_to_load_the_result(loads_in):
    report = replace(REPORT, loads_in=loads_in)
    text = markdown(report, "half")
    assert opening(report, "half") in text
    assert loading(loads_in) in text
    assert ("import infoprune  #" in text) == (loads_in == "infoprune")
    assert 'model = AutoModelForSequenceClassification.from_pretrained("half")' in text
    assert 'tokenizer = AutoTokenizer.from_pretrained("half")' in text


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_code_that_opens_a_result_names_what_there_is(task):
    code = opening(replace(REPORT, task=task.name))
    tree = ast.parse(code)
    (names,) = (node.names for node in tree.body if isinstance(node, ast.ImportFrom))
    assert task.auto in {name.name for name in names}
    assert all(hasattr(transformers, name.name) for name in names)


def test_markdown_has_the_facts_of_the_tables():
    text = markdown(REPORT)
    assert text.startswith("# A pruned bert model for classification\n")
    for row in rows(printed(table(REPORT))) + rows(printed(kept_table(REPORT.kept))):
        assert "| " + " | ".join(row) in text
    for line in summary(REPORT)[:2]:
        assert line in text
    assert "32 inputs of 64 tokens" in text


def test_the_picture_of_the_sizes_stands_beside_the_report(tmp_path):
    assert f"({SIZES})" in markdown(REPORT)
    plot_sizes(REPORT.kept, tmp_path / SIZES)
    height, width = imread(tmp_path / SIZES).shape[:2]
    assert width > height > 100
    plot_sizes({f"layers.{i}.ffn": (i + 1, 30) for i in range(30)}, tmp_path / "tall.png")
    assert imread(tmp_path / "tall.png").shape[0] > 3 * height


def test_markdown_tables_have_as_many_cells_in_every_line():
    lines = [line for line in markdown(REPORT).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines[:10]} == {5}
    assert {line.count("|") for line in lines[10:]} == {4}


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0, "", "0"),
        (999, "", "999"),
        (999, "B", "999 B"),
        (999.7, "", "1.00 k"),
        (1_000, "", "1.00 k"),
        (9_994, "", "9.99 k"),
        (9_996, "", "10.0 k"),
        (99_960, "", "100 k"),
        (999_600, "", "1.00 M"),
        (22_713_216, "", "22.7 M"),
        (90_852_864, "B", "90.9 MB"),
        (2_869_200_384, "", "2.87 G"),
    ],
)
def test_human_numbers_have_three_digits(number, unit, text):
    assert human(number, unit) == text


def test_shares_are_per_cent():
    assert metric("accuracy", 0.8421) == "84.2 %"
    assert metric("pearson", 0.8421) == "0.8421"


def test_kept_in_words_adds_up_layers():
    assert kept_in_words(REPORT.kept) == "3 of 12 heads, 1,152 of 3,072 neurons"
