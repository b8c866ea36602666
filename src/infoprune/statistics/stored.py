"""Stored: statistics as a folder of a JSON header and one safetensors file per site, read back site by site."""

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
from infoprune.files.typed import typed
from infoprune.statistics.moments import Moments
from infoprune.statistics.routes import Routes
from infoprune.statistics.statistics import SiteStatistics, SomeSites, Statistics
from infoprune.structure.site import Site

HEADER = "statistics.json"
TRIANGLES = ("tokens.triangle", "importance.triangle")
ROUTES = ("logits", "products", "lengths", "counts")
SINGLE = ("token_importance", "masks", "logits", "products")
"""Tensors in float32."""
VERSION = 4
LARGEST = 1 << 28
"""Size of the largest header that is read, in bytes."""


@dataclass(frozen=True)
class _Sum:
    """Fields of some `Moments` that are not tensors."""

    weight: float
    rows: int


@dataclass(frozen=True)
class _Entry:
    """Fields of a site's statistics that are not tensors.

    `shapes` are those of the token importance of every batch; `directions` is that of the masks, 0 for no masks;
    `routes` are the tokens and directions of the routes, 0 for none.
    """

    site: Site
    tokens: _Sum
    importance: _Sum
    centred: bool
    smoothing: float
    shrinkage: float
    level: float
    directions: int
    activation_norm: bool
    routes: tuple[int, int]
    shapes: tuple[tuple[int, ...], ...]

    def expected(self, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the site's tensors by name."""
        n, units = self.site.units * self.site.size, self.site.units
        extras: dict[str, tuple[int, ...]] = {"masks": (inputs, self.directions, units)} if self.directions else {}
        extras |= {"activation_norm": (units,)} if self.activation_norm else {}
        if self.site.whole_experts:
            extras |= {"logits": (self.routes[0], units), "products": (*self.routes, units)}
            extras |= {"lengths": (units,), "counts": (units,)}
        return {
            **extras,
            "tokens.mean": (n,),
            "tokens.triangle": (n, n),
            "importance.mean": (n,),
            "importance.triangle": (n, n),
            "fisher": (outputs, outputs),
            "reader": (outputs, n),
            "produced": (units,),
            "produced_sum": (units,),
            "token_importance": (sum(rows * length for rows, length in self.shapes),),
        }


@dataclass(frozen=True)
class _Header:
    version: int
    model_type: str
    inputs: int
    tokens: int
    keys: tuple[int, ...]
    sites: tuple[_Entry, ...]


def write_statistics(statistics: Statistics, folder: Path, matrices: torch.dtype = torch.float64) -> None:
    """Write statistics into an existing folder, one site after the other; pairs are left out.

    Args:
        statistics: The statistics.
        folder: The folder.
        matrices: Type in which the largest matrices are written. In float32 they take half of the disk; they have no
            more precision where the activations had none.
    """
    entries = []
    for index, (name, each) in enumerate(statistics.sites.items()):
        importance = statistics.importance[name]
        tensors = {
            "tokens.mean": each.tokens.mean,
            "tokens.triangle": each.tokens.triangle.to(matrices),
            "importance.mean": each.importance.mean,
            "importance.triangle": each.importance.triangle.to(matrices),
            "fisher": each.fisher,
            "reader": each.reader,
            "produced": each.produced,
            "produced_sum": each.produced_sum,
            "token_importance": torch.cat([w.flatten() for w in importance] or [torch.empty(0)]),
        }
        tensors |= {"masks": each.masks} if each.masks is not None else {}
        tensors |= {"activation_norm": each.activation_norm} if each.activation_norm is not None else {}
        tensors |= vars(each.routes) if each.routes is not None else {}
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, _file(folder, index))
        entries.append(
            _Entry(
                site=each.site,
                tokens=_Sum(each.tokens.weight, each.tokens.rows),
                importance=_Sum(each.importance.weight, each.importance.rows),
                centred=each.centred,
                smoothing=each.smoothing,
                shrinkage=each.shrinkage,
                level=statistics.levels[name],
                directions=0 if each.masks is None else each.masks.shape[1],
                activation_norm=each.activation_norm is not None,
                routes=(0, 0) if each.routes is None else (len(each.routes.logits), each.routes.products.shape[1]),
                shapes=tuple(tuple(w.shape) for w in importance),
            )
        )
    header = _Header(
        VERSION, statistics.model_type, statistics.inputs, statistics.tokens, statistics.keys, tuple(entries)
    )
    (folder / HEADER).write_text(json.dumps(asdict(header)), encoding="utf-8")
    for index in range(len(entries)):  # some releases of safetensors let only the owner read them
        shutil.copymode(folder / HEADER, _file(folder, index))


def read_statistics(folder: Path, device: torch.device | str = "cpu") -> Statistics:
    """Read statistics from a folder; the matrices of a site are read when it is accessed, and not kept.

    Raises:
        InputError: The folder holds no statistics, or they are damaged or of another version.
    """
    header = _read_header(folder)
    entries = {entry.site.name: entry for entry in header.sites}
    files = {entry.site.name: _file(folder, index) for index, entry in enumerate(header.sites)}
    if len(entries) < len(header.sites):
        raise InputError(f"{folder / HEADER} names a site twice, expected each once; collect anew")
    importance = {name: _check_and_read(files[name], entry, header) for name, entry in entries.items()}
    return Statistics(
        SomeSites(entries, lambda name: _read_site(files[name], entries[name], header.inputs, device)),
        header.model_type,
        header.inputs,
        header.tokens,
        importance,
        {name: entry.level for name, entry in entries.items()},
        header.keys,
    )


def _read_site(file: Path, entry: _Entry, inputs: int, device: torch.device | str) -> SiteStatistics:
    try:
        with safe_open(file, framework="pt", device=str(device)) as tensors:
            names = [key for key in entry.expected(0, inputs) if key != "token_importance"]
            found = {key: tensors.get_tensor(key) for key in names}
            found |= {key: found[key].double() for key in TRIANGLES}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} can no longer be read ({error}), expected it to stay; collect anew") from None
    for key, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{file}: {key} holds NaN or infinite values, expected finite ones; collect anew")
    return SiteStatistics(
        site=entry.site,
        tokens=Moments(entry.tokens.weight, found["tokens.mean"], found["tokens.triangle"], entry.tokens.rows),
        importance=Moments(
            entry.importance.weight, found["importance.mean"], found["importance.triangle"], entry.importance.rows
        ),
        fisher=found["fisher"],
        reader=found["reader"],
        centred=entry.centred,
        produced=found["produced"],
        produced_sum=found["produced_sum"],
        smoothing=entry.smoothing,
        shrinkage=entry.shrinkage,
        masks=found.get("masks"),
        activation_norm=found.get("activation_norm"),
        routes=Routes(**{name: found[name] for name in ROUTES}) if entry.site.whole_experts else None,
    )


def _file(folder: Path, index: int) -> Path:
    return folder / f"{index}.safetensors"  # a number, not a name that a header could choose


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
        raise InputError(f"{file} lists no inputs or no sites, expected some of both; collect anew")
    return header


def _check_and_read(file: Path, entry: _Entry, header: _Header) -> tuple[Float[Tensor, "_ _"], ...]:
    """Check the shapes and types of a site's tensors, and return its token importance."""
    numbers = (
        *(entry.tokens.weight, entry.importance.weight, entry.level, entry.smoothing, entry.shrinkage),
        *(entry.directions, *entry.routes),
    )
    counts = (entry.site.units, entry.site.size, entry.tokens.rows + 1, entry.importance.rows + 1)
    shapes_fit = len(entry.shapes) == len(header.keys) and all(
        len(shape) == 2 and min(shape) > 0 for shape in entry.shapes
    )
    if not shapes_fit or not all(number >= 0 for number in numbers) or min(counts) < 1:
        raise InputError(f"{file.parent / HEADER}: the numbers of {entry.site.name} make no sense; collect anew")
    try:
        with safe_open(file, framework="pt") as tensors:
            parts = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118  not a dict
            found = {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in parts.items()}
            outputs = found["fisher"][0][0]
            dtypes = {key: "F32" if key in SINGLE else "F64" for key in found}
            dtypes |= {key: found[key][1] for key in TRIANGLES if found[key][1] == "F32"}
            expected = entry.expected(outputs, header.inputs)
            if found != {key: (shape, dtypes.get(key)) for key, shape in expected.items()}:
                raise InputError(f"{file} does not have the matrices of {entry.site.name}; collect anew")
            importance = tensors.get_tensor("token_importance")
    except (SafetensorError, OSError, KeyError, IndexError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}: {error}); collect anew") from None
    if not torch.isfinite(importance).all():
        raise InputError(f"{file}: token_importance holds NaN or infinite values, expected finite ones; collect anew")
    split = importance.split([rows * length for rows, length in entry.shapes])
    return tuple(part.reshape(shape) for part, shape in zip(split, entry.shapes, strict=True))
