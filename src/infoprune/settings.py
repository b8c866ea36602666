"""Settings: how a model is compressed."""

from dataclasses import dataclass
from typing import Literal

from infoprune.errors import InputError

Refresh = Literal["site", "round", "never"]
Form = Literal["free", "uniform"]
FORMS: tuple[Form, ...] = ("free", "uniform")


@dataclass(frozen=True)
class Settings:
    """How `compress` goes about it; docs/ablation.md shows what each choice buys.

    Args:
        rounds: in how many parts the units are chosen; after each part the dense model is cut and repaired, and the
            next part looks at the result. With recovery it is trained too, and the next part cuts what came of that.
        refresh: when the demand is taken anew through what has been cut above: before every "site" (one more pass per
            site), before every "round", or "never" (every round follows the first ranking).
        floor: token weight of a token without gradient, in the moments and in the repair.
        shrinkage: ridge of the covariances that the units are chosen by.
        repair: re-fit the readers bottom-up after each part.
        ridge: of the repair; None lets cross-validation choose.
        copies: of every input, with some of its tokens replaced, that the repair reads too (see `with_copies`). None
            takes some where inputs are few, and none where they are many or an answer stands at every token.
        producers: let the repair re-fit producers as well as readers.
        neurons: let the repair re-fit what writes neurons to what their reader has to say, layer by layer. None does so
            where there are 128 tokens for every input of a layer; the repair then takes several times as long.
        shape: "uniform" keeps to sizes that plain transformers can open, the same in every layer; "free" to any.
        memory: bytes that the statistics may take at once; where they take more, sites are collected in groups, one
            pass for each, and kept on disk. None keeps all in memory.

    Raises:
        InputError: a setting is out of range.
    """

    rounds: int = 1
    refresh: Refresh = "round"
    floor: float = 3.0
    shrinkage: float = 1e-2
    repair: bool = True
    ridge: float | None = None
    copies: int | None = None
    producers: bool = True
    neurons: bool | None = None
    shape: Form = "free"
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"rounds is {self.rounds}, expected at least 1; 1 is a good choice")
        if self.copies is not None and self.copies < 0:
            raise InputError(f"copies is {self.copies}, expected 0 or more; leave it out, or pass 0 for none")
        if self.refresh not in ("site", "round", "never"):
            raise InputError(f"refresh is {self.refresh!r}, expected 'site', 'round' or 'never'")
        if self.shape not in FORMS:
            raise InputError(f"shape is {self.shape!r}, expected 'free' or 'uniform'; 'free' loses less")
        if self.memory is not None and self.memory < 1:
            raise InputError(f"memory is {self.memory} bytes, expected more than none; pass e.g. {2**30} for 1 GiB")
        if self.memory is not None and self.refresh == "site":
            raise InputError(
                "refresh 'site' keeps the statistics of all sites in memory, so its use cannot be limited; "
                "use refresh 'round'"
            )
