import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from reports import REPORT

from infoprune.reports.losses import DECADES, HIGH, WIDE, Axis, charts, loss_axis
from infoprune.reports.page import Bar, Panel, losses, page, panels
from infoprune.reports.render import cost_rows, opening, summary

EMPTY = {"meta", "rect", "line", "polyline"}


class Reader(HTMLParser):
    """All elements and their attributes, all texts; an element that is not closed is an error."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(" ".join(data.split()))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_has_the_facts_of_the_tables():
    texts = Reader(page(REPORT)).texts
    for row in cost_rows(REPORT):
        for cell in row:
            assert cell in texts
    for line in summary(REPORT):
        assert line in texts
    assert " ".join(opening(REPORT).split()) in texts
    assert "384 of 1,536" in texts
    assert {"0.0201 nats", "0.0312 nats"} <= set(texts)


def test_the_page_needs_nothing_else():
    text = page(REPORT)
    assert not re.findall(r"https?:|//\w|url\(|@import|<script|<link|<img|\ssrc=|\shref=", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_bars_are_as_long_as_the_shares_that_are_kept():
    widths = [float(rect["width"]) for rect in Reader(page(REPORT)).named("rect") if rect["class"] in ("p0", "p1")]
    assert widths == [200 * 3 / 12, 200 * 768 / 1536, 200 * 384 / 1536]


def test_every_layer_is_in_the_picture_from_the_top_down():
    kept = {
        "layers.0.heads": (1, 2),
        "layers.0.ffn": (3, 4),
        "layers.1.ffn": (2, 4),
        "encoder.layers.2.ffn": (1, 4),
        "vocabulary": (5, 9),
    }
    assert panels(kept) == [
        Panel("heads", (Bar("0", 1, 2),)),
        Panel("neurons", (Bar("encoder.2", 1, 4), Bar("1", 2, 4), Bar("0", 3, 4))),
        Panel("tokens", (Bar("all layers", 5, 9),)),
    ]


def test_an_axis_is_logarithmic_and_ends_at_a_power_of_ten():
    axis = Axis.up_to(8.0)
    assert [nats for _, nats in axis.ticks] == ["10", "1", "0.1", "0.01", "0.001", "0.0001"]
    assert [height for height, _ in axis.ticks] == [HIGH * part / DECADES for part in range(DECADES + 1)]
    assert axis.height(1.0) == HIGH / DECADES
    assert axis.height(10**-0.5) == 1.5 * HIGH / DECADES
    assert axis.height(0.0) == axis.height(1e-9) == axis.height(-1.0) == HIGH
    assert Axis.up_to(10.0) == axis


def test_there_is_a_line_for_every_site_and_one_for_all_together():
    axis = loss_axis(REPORT)
    together, heads, neurons = charts(REPORT, axis)
    assert [chart.units for chart in (together, heads, neurons)] == ["", "heads", "neurons"]
    assert [line.layer for line in neurons.lines] == ["0", "1"]
    assert neurons.lines[0].strength < neurons.lines[1].strength == 1.0
    middle, end = f"{WIDE / 2:g}", f"{WIDE:g}"
    assert together.lines[0].points == f"0,{axis.height(8.0):g} {middle},{axis.height(0.53):g} {end},{HIGH:g}"
    assert heads.lines[0].points == f"0,{axis.height(2.0):g} {middle},{axis.height(0.5):g} {end},{HIGH:g}"
    assert len(Reader(page(REPORT)).named("polyline")) == 4
    assert len([line for line in Reader(page(REPORT)).named("line") if line["class"] == "cut"]) == 1


def test_dots_are_on_their_lines_at_what_is_kept():
    axis = loss_axis(REPORT)
    _, heads, neurons = charts(REPORT, axis)
    assert heads.lines[0].dot == (WIDE / 4, round((axis.height(2.0) + axis.height(0.5)) / 2, 1))
    assert neurons.lines[1].dot == (WIDE / 2, axis.height(0.02))
    whole = replace(REPORT, kept={**REPORT.kept, "layers.1.ffn": (1536, 1536), "layers.0.ffn": (0, 1536)})
    assert [line.dot for line in charts(whole, axis)[2].lines] == [(0, axis.height(5.0)), (WIDE, HIGH)]


@pytest.mark.parametrize("curves", [{}, {"layers.0.ffn": (0.0, 0.0)}])
def test_without_losses_there_are_no_charts(curves):
    text = page(replace(REPORT, curves=curves))
    assert "polyline" not in text
    assert "Predicted loss by share" not in text


def test_losses_that_are_not_known_are_left_out():
    assert [value for _, value in losses(REPORT)] == [0.0201, 0.0312]
    assert losses(replace(REPORT, kl=None, nats_lost=None)) == []
    assert "<h2>Nats" not in page(replace(REPORT, kl=None, nats_lost=None))
    assert "geometric mean" not in page(replace(REPORT, kl=None))


@pytest.mark.parametrize("kl", [0.0, 0.5])
def test_the_share_of_the_probability_that_is_left(kl):
    text = page(replace(REPORT, kl=kl, nats_lost=0.0))
    assert f"{100 * math.exp(-kl):.1f} %" in text


def test_names_are_text_and_not_markup():
    text = page(replace(REPORT, family="<b>&", criterion="<script>alert(1)</script>"))
    assert "<b>" not in text
    assert "<script" not in text
    assert "&lt;b&gt;&amp;" in text
