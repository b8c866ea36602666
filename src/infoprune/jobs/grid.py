"""Grid: the methods, sizes and seeds of `infoprune compare`, and the cells that are already computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from infoprune.budgets.budget import Budget, Keep
from infoprune.data.media import Data, MediaData
from infoprune.errors import InputError
from infoprune.jobs.cut import Sources
from infoprune.jobs.inputs import Packing, check_positive
from infoprune.methods.table import USUAL, USUAL_OF_ALL, USUAL_OF_EXPERTS, method_named
from infoprune.plan import STREAMS
from infoprune.reports.comparison import Cell
from infoprune.structure.site import Site
from infoprune.structure.sites import find_sites

CELLS = "cells.jsonl"
REPAIRS = ("own", "ours")
Goal = Keep | Budget


@dataclass(frozen=True)
class Grid:
    """Methods, sizes and seeds to compare.

    Args:
        criteria: Names of methods; None stands for the usual ones of the model's units, see `for_sites`.
        keeps: Shares of the units of every site to keep.
        budgets: Limits on the cost of the results.
        repairs: "own", as published, "ours", or both.
        seeds: Number of seeds; each samples other calibration texts.
        seed: First seed; the others follow.
        structures: Types of structure to cut; None means the experts of a model that has some, and of all others every
            type in the layers.

    Raises:
        InputError: One of these is empty or not valid.
    """

    criteria: tuple[str, ...] | None
    keeps: tuple[float, ...] = ()
    budgets: tuple[Budget, ...] = ()
    repairs: tuple[str, ...] = ("ours",)
    seeds: int = 1
    seed: int = 0
    structures: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.criteria is not None and not self.criteria:
            raise InputError("`criteria` is empty, expected at least one; pass e.g. `criteria=information,wanda`")
        for name in self.criteria or ():
            method_named(name)
        for share in self.keeps:
            Keep(share)
        if not self.keeps and not self.budgets:
            raise InputError("neither `keep` nor `budget` was given, expected a size; pass e.g. `keep=0.5,0.25`")
        if not self.repairs or set(self.repairs) - set(REPAIRS):
            raise InputError(
                f"`repair_method` is {', '.join(self.repairs) or 'none'}, expected own, ours or both; "
                "pass e.g. `repair_method=both`"
            )
        check_positive("seeds", self.seeds)

    def cut_sites(self, model: PreTrainedModel) -> tuple[Site, ...]:
        """Return the sites of a model that are cut.

        Raises:
            InputError: It does not have a structure that was named, or it is one of the residual stream.
        """
        stream = sorted({*STREAMS} & {*(self.structures or ())})
        if stream:
            raise InputError(
                f"`structures` has {stream[0]}, which a comparison does not cut, expected types of structure in the "
                "layers, e.g. ffn; leave it out, or pass `criteria=slicegpt`"
            )
        sites = find_sites(model, self.structures)
        experts = tuple(site for site in sites if site.whole_experts)
        return experts if experts and self.structures is None else sites

    def for_sites(self, sites: Sequence[Site]) -> Grid:
        """Return the grid with the structures of some sites, and with their usual methods where none are named."""
        structures = tuple(dict.fromkeys(site.structure for site in sites))
        routed = any(site.routing is not None for site in sites)
        usual = USUAL_OF_EXPERTS if all(site.whole_experts for site in sites) else USUAL_OF_ALL if routed else USUAL
        return replace(self, structures=structures, criteria=self.criteria or usual)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the methods, each once; none before `for_sites` where the usual ones are meant."""
        return tuple(dict.fromkeys(self.criteria or ()))

    @property
    def goals(self) -> dict[str, Goal]:
        """Sizes by name, in order."""
        keeps: dict[str, Goal] = {f"keep={share:g}": Keep(share) for share in self.keeps}
        return keeps | {f"{budget.quantity}={budget.amount:g}": budget for budget in self.budgets}

    @property
    def seed_range(self) -> range:
        """All seeds."""
        return range(self.seed, self.seed + self.seeds)

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """(goal, criterion, repair) of every cell of a seed; both repairs of a choice follow one another."""
        repairs = [each for each in REPAIRS if each in self.repairs]
        return [(goal, name, repair) for goal in self.goals for name in self.names for repair in repairs]


class CellStore:
    """Cells on disk, one per line, of runs on the same inputs; a line cut short by a kill is ignored.

    Args:
        path: Path of the file; it is created with the first cell.
        digest: Digest of the inputs.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._path, self._digest = path, digest
        self.found: dict[tuple[int, str, str, str], Cell] = {}
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text and not text.endswith("\n"):
            path.write_text(text + "\n", encoding="utf-8")
        for line in text.splitlines():
            try:
                stored = json.loads(line)
            except ValueError:
                continue
            if stored.pop("run", None) == digest:
                self._note(Cell(**stored))

    def _note(self, cell: Cell) -> None:
        self.found[cell.seed, cell.goal, cell.criterion, cell.repair] = cell

    def add(self, cell: Cell) -> None:
        """Store a cell, on disk too."""
        self._note(cell)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": self._digest, **asdict(cell)}) + "\n")

    def among(self, keys: Sequence[tuple[int, str, str, str]]) -> list[Cell]:
        """Return the stored cells of these keys, in their order."""
        return [self.found[key] for key in keys if key in self.found]


def digest_of(
    model: PreTrainedModel, texts: Data, eval_texts: Data, sources: Sources, packing: Packing, grid: Grid
) -> str:
    """Return a digest of the inputs of a run and of what it cuts, so that it resumes only from its own cells."""
    digest = hashlib.sha256(f"{type(model).__name__} {sources.samples} {packing} {grid.structures}".encode())
    for data in (texts, eval_texts):
        if isinstance(data, MediaData):
            digest.update(repr((data.labels, data.transcripts)).encode())
            for item in data.items:
                digest.update(item.load())
            continue
        digest.update(repr((data.texts, data.pairs, data.labels)).encode())
    for name, tensor in model.named_parameters():
        digest.update(f"{name} {tuple(tensor.shape)} {float(tensor.detach().double().sum())!r}".encode())
    return digest.hexdigest()[:16]
