"""Stored statistics come back bit by bit, and nothing in a damaged folder is trusted."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_batches

from infoprune.errors import InputError
from infoprune.files.typed import typed
from infoprune.statistics.archive import load_statistics, save_statistics
from infoprune.statistics.collect import collect
from infoprune.statistics.stored import HEADER


@pytest.fixture
def statistics(tiny_bert):
    return collect(tiny_bert, make_batches(), smoothing=float("inf"))


@pytest.fixture
def folder(tmp_path, statistics):
    save_statistics(statistics, tmp_path / "statistics")
    return tmp_path / "statistics"


def test_bit_by_bit(statistics, folder):
    found = load_statistics(folder)
    assert list(found.sites) == list(statistics.sites)
    assert (found.model_type, found.inputs, found.tokens) == ("bert", 7, 41)
    assert (found.levels, found.keys) == (statistics.levels, statistics.keys)
    assert "layers.7.ffn" not in found.sites
    with pytest.raises(KeyError):
        found.sites["layers.7.ffn"]
    for name, site in statistics.sites.items():
        again = found.sites[name]
        for field in ("site", "centred", "smoothing", "shrinkage"):
            assert getattr(again, field) == getattr(site, field)
        for field in ("fisher", "reader", "produced", "covariance"):
            assert torch.equal(getattr(again, field), getattr(site, field))
        for a, b in ((again.tokens, site.tokens), (again.importance, site.importance)):
            assert (a.weight, a.rows) == (b.weight, b.rows)
            assert torch.equal(a.triangle, b.triangle)
        assert all(torch.equal(a, b) for a, b in zip(found.importance[name], statistics.importance[name], strict=True))


def test_who_may_read_the_header_may_read_all(folder):
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


def test_nothing_is_overwritten(statistics, folder):
    with pytest.raises(InputError, match="not empty"):
        save_statistics(statistics, folder)
    save_statistics(statistics, folder, force=True)


def without(header, *path):
    del at(header, path[:-1])[path[-1]]


def at(value, path):
    for step in path:
        value = value[step]
    return value


def put(*path, value):
    return lambda header: at(header, path[:-1]).__setitem__(path[-1], value)


DAMAGE = {
    "no field": (lambda header: without(header, "tokens"), "is no object with"),
    "another field": (put("more", value=1), "is no object with"),
    "a text for a number": (put("inputs", value="7"), "it.inputs is '7', expected int"),
    "truth for a number": (put("inputs", value=True), "it.inputs is True, expected int"),
    "a number for a list": (put("keys", value=7), "it.keys is no array"),
    "not a number": (put("sites", 0, "level", value=float("nan")), r"it.sites\[0\].level is nan, expected float"),
    "another version": (put("version", value=2), "is of version 2, expected 4"),
    "no sites": (put("sites", value=[]), "lists no inputs or no sites"),
    "no inputs": (put("inputs", value=0), "lists no inputs or no sites"),
    "fewer batches": (put("keys", value=[1]), r"the numbers of layers\.0\.heads make no sense"),
    "a negative weight": (put("sites", 0, "tokens", "weight", value=-1.0), "make no sense"),
    "negative rows": (put("sites", 0, "importance", "rows", value=-1), "make no sense"),
    "no units": (put("sites", 0, "site", "units", value=0), "make no sense"),
    "more units": (put("sites", 0, "site", "units", value=10**9), "does not have the matrices of"),
    "longer batches": (put("sites", 0, "shapes", 0, 1, value=99), "does not have the matrices of"),
    "batches of nothing": (put("sites", 0, "shapes", 0, value=[-4, -9]), "make no sense"),
    "the same site twice": (lambda header: header["sites"].append(header["sites"][0]), "names a site twice"),
}


@pytest.mark.parametrize("damage_name", DAMAGE)
def test_damaged_headers(folder, damage_name):
    damage, said = DAMAGE[damage_name]
    header = json.loads((folder / HEADER).read_text())
    damage(header)
    (folder / HEADER).write_text(json.dumps(header))
    with pytest.raises(InputError, match=f"{said}.*collect anew"):
        load_statistics(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\x00", "null"])
def test_headers_that_are_none(folder, text):
    (folder / HEADER).write_text(text)
    with pytest.raises(InputError, match=r"statistics\.json is damaged.*collect anew"):
        load_statistics(folder)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"has no statistics\.json.*infoprune collect"):
        load_statistics(tmp_path / "nowhere")


def change(file, **tensors):
    save_file(load_file(file) | tensors, file)


def test_damaged_matrices(folder):
    file = folder / "1.safetensors"
    whole = file.read_bytes()
    change(file, fisher=torch.ones(3, 4, dtype=torch.float64))
    with pytest.raises(InputError, match=r"does not have the matrices of layers\.0\.ffn"):
        load_statistics(folder)
    file.write_bytes(whole)
    change(file, fisher=torch.ones(32, 32))
    with pytest.raises(InputError, match="does not have the matrices of"):
        load_statistics(folder)
    file.write_bytes(whole)
    change(file, token_importance=load_file(file)["token_importance"] * torch.nan)
    with pytest.raises(InputError, match="token_importance holds NaN"):
        load_statistics(folder)
    for content in (whole[:100], b"", b"\xff" * 64):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read.*collect anew"):
            load_statistics(folder)
    file.unlink()
    with pytest.raises(InputError, match=r"cannot be read.*collect anew"):
        load_statistics(folder)


def test_what_is_found_later(folder):
    found = load_statistics(folder)
    file = folder / "0.safetensors"
    change(file, fisher=load_file(file)["fisher"] * torch.inf)
    with pytest.raises(InputError, match="fisher holds NaN or infinite"):
        found.sites["layers.0.heads"]
    file.unlink()
    with pytest.raises(InputError, match="can no longer be read"):
        found.sites["layers.0.heads"]


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...]
    left: int | None


def test_typed():
    assert typed(Point, {"x": 1, "names": ["a"], "left": None}) == Point(1.0, ("a",), None)
    assert typed(Point, {"x": 1.5, "names": [], "left": 2}).left == 2
    for wrong in ({"x": "1"}, {"x": True}, {"names": [1]}, {"left": 1.0}, {"more": 1}):
        with pytest.raises(ValueError, match=r"expected (float|str|int)|is no object"):
            typed(Point, {"x": 1, "names": [], "left": None} | wrong)


def test_extras_are_stored(tiny_bert64, tmp_path):
    found = collect(tiny_bert64, make_batches(), extras={"masks", "activation_norm"})
    save_statistics(found, tmp_path / "statistics")
    for name, site in load_statistics(tmp_path / "statistics").sites.items():
        assert torch.equal(site.masks, found.sites[name].masks)
        assert torch.equal(site.activation_norm, found.sites[name].activation_norm)
        assert torch.equal(site.produced_sum, found.sites[name].produced_sum)
