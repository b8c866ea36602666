"""Stored: statistics as a folder of a JSON header and one safetensors file a site, read back site by site."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from infoprune.errors import InputError
from infoprune.statistics.moments import Moments
from infoprune.statistics.statistics import SiteStatistics, SomeSites, Statistics
from infoprune.structure.site import Site
from infoprune.typed import typed

HEADER = "statistics.json"
VERSION = 2
LARGEST = 1 << 28
"""Bytes of a header that is still read."""


@dataclass(frozen=True)
class _Sum:
    """What of some `Moments` is no tensor."""

    weight: float
    rows: int


@dataclass(frozen=True)
class _Entry:
    """What of a site's statistics is no tensor.

    `shapes` are those of the worth of the tokens of every batch, `directions` those of the masks, 0 for no masks.
    """

    site: Site
    tokens: _Sum
    worth: _Sum
    centred: bool
    floor: float
    ridge: float
    level: float
    directions: int
    loud: bool
    shapes: tuple[tuple[int, ...], ...]

    def expected(self, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the site's tensors by name."""
        n, units = self.site.units * self.site.size, self.site.units
        extras: dict[str, tuple[int, ...]] = {"masks": (inputs, self.directions, units)} if self.directions else {}
        extras |= {"loudness": (units,)} if self.loud else {}
        return {
            **extras,
            "tokens.mean": (n,),
            "tokens.triangle": (n, n),
            "worth.mean": (n,),
            "worth.triangle": (n, n),
            "demand": (outputs, outputs),
            "reader": (outputs, n),
            "produced": (units,),
            "produced_sum": (units,),
            "token_worth": (sum(rows * length for rows, length in self.shapes),),
        }


@dataclass(frozen=True)
class _Header:
    version: int
    model_type: str
    inputs: int
    tokens: int
    keys: tuple[int, ...]
    sites: tuple[_Entry, ...]


def write_statistics(statistics: Statistics, folder: Path) -> None:
    """Writes statistics into a folder that is there, one site after the other; pairs are left out."""
    entries = []
    for index, (name, each) in enumerate(statistics.sites.items()):
        worth = statistics.worth[name]
        tensors = {
            "tokens.mean": each.tokens.mean,
            "tokens.triangle": each.tokens.triangle,
            "worth.mean": each.worth.mean,
            "worth.triangle": each.worth.triangle,
            "demand": each.demand,
            "reader": each.reader,
            "produced": each.produced,
            "produced_sum": each.produced_sum,
            "token_worth": torch.cat([w.flatten() for w in worth] or [torch.empty(0)]),
        }
        tensors |= {"masks": each.masks} if each.masks is not None else {}
        tensors |= {"loudness": each.loudness} if each.loudness is not None else {}
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, _file(folder, index))
        entries.append(
            _Entry(
                site=each.site,
                tokens=_Sum(each.tokens.weight, each.tokens.rows),
                worth=_Sum(each.worth.weight, each.worth.rows),
                centred=each.centred,
                floor=each.floor,
                ridge=each.ridge,
                level=statistics.levels[name],
                directions=0 if each.masks is None else each.masks.shape[1],
                loud=each.loudness is not None,
                shapes=tuple(tuple(w.shape) for w in worth),
            )
        )
    header = _Header(
        VERSION, statistics.model_type, statistics.inputs, statistics.tokens, statistics.keys, tuple(entries)
    )
    (folder / HEADER).write_text(json.dumps(asdict(header)), encoding="utf-8")
    for index in range(len(entries)):  # some releases of safetensors let only the owner read them
        shutil.copymode(folder / HEADER, _file(folder, index))


def read_statistics(folder: Path, device: torch.device | str = "cpu") -> Statistics:
    """Statistics from a folder; the matrices of a site are read when the site is asked for, and not kept.

    Raises:
        InputError: there are none, or what is there is damaged or of another version.
    """
    header = _read_header(folder)
    entries = {entry.site.name: entry for entry in header.sites}
    files = {entry.site.name: _file(folder, index) for index, entry in enumerate(header.sites)}
    if len(entries) < len(header.sites):
        raise InputError(f"{folder / HEADER} names a site twice, expected each once; collect anew")
    worth = {name: _check_and_read(files[name], entry, header) for name, entry in entries.items()}
    return Statistics(
        SomeSites(entries, lambda name: _read_site(files[name], entries[name], header.inputs, device)),
        header.model_type,
        header.inputs,
        header.tokens,
        worth,
        {name: entry.level for name, entry in entries.items()},
        header.keys,
    )


def _read_site(file: Path, entry: _Entry, inputs: int, device: torch.device | str) -> SiteStatistics:
    try:
        with safe_open(file, framework="pt", device=str(device)) as tensors:
            found = {key: tensors.get_tensor(key) for key in entry.expected(0, inputs) if key != "token_worth"}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} can no longer be read ({error}), expected it to stay; collect anew") from None
    for key, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{file}: {key} holds NaN or infinite values, expected finite ones; collect anew")
    return SiteStatistics(
        site=entry.site,
        tokens=Moments(entry.tokens.weight, found["tokens.mean"], found["tokens.triangle"], entry.tokens.rows),
        worth=Moments(entry.worth.weight, found["worth.mean"], found["worth.triangle"], entry.worth.rows),
        demand=found["demand"],
        reader=found["reader"],
        centred=entry.centred,
        produced=found["produced"],
        produced_sum=found["produced_sum"],
        floor=entry.floor,
        ridge=entry.ridge,
        masks=found.get("masks"),
        loudness=found.get("loudness"),
    )


def _file(folder: Path, index: int) -> Path:
    return folder / f"{index}.safetensors"  # a number, and no name that a header could choose


def _read_header(folder: Path) -> _Header:
    file = folder / HEADER
    if not file.is_file():
        raise InputError(f"{folder} has no {HEADER}, expected a folder from infoprune collect; check the path")
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        header = typed(_Header, json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged ({error!s:.200}); collect anew") from None
    if header.version != VERSION:
        raise InputError(f"{file} is of version {header.version}, expected {VERSION}; collect anew with this release")
    if header.inputs < 1 or header.tokens < 1 or not header.sites:
        raise InputError(f"{file} tells of no inputs or no sites, expected some of both; collect anew")
    return header


def _check_and_read(file: Path, entry: _Entry, header: _Header) -> tuple[Float[Tensor, "_ _"], ...]:
    """Checks the shapes and types of a site's tensors, and returns the worth of its tokens."""
    numbers = (entry.tokens.weight, entry.worth.weight, entry.level, entry.floor, entry.ridge)
    counts = (entry.site.units, entry.site.size, entry.tokens.rows + 1, entry.worth.rows + 1)
    shapes_fit = len(entry.shapes) == len(header.keys) and all(
        len(shape) == 2 and min(shape) > 0 for shape in entry.shapes
    )
    if not shapes_fit or entry.directions < 0 or not all(number >= 0 for number in numbers) or min(counts) < 1:
        raise InputError(f"{file.parent / HEADER}: the numbers of {entry.site.name} make no sense; collect anew")
    try:
        with safe_open(file, framework="pt") as tensors:
            parts = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118  not a dict
            found = {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in parts.items()}
            outputs = found["demand"][0][0]
            kinds = {key: "F32" if key in ("token_worth", "masks") else "F64" for key in found}
            expected = entry.expected(outputs, header.inputs)
            if found != {key: (shape, kinds.get(key)) for key, shape in expected.items()}:
                raise InputError(f"{file} does not have the matrices of {entry.site.name}; collect anew")
            worth = tensors.get_tensor("token_worth")
    except (SafetensorError, OSError, KeyError, IndexError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}: {error}); collect anew") from None
    if not torch.isfinite(worth).all():
        raise InputError(f"{file}: token_worth holds NaN or infinite values, expected finite ones; collect anew")
    split = worth.split([rows * length for rows, length in entry.shapes])
    return tuple(part.reshape(shape) for part, shape in zip(split, entry.shapes, strict=True))
