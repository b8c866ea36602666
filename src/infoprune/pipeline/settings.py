"""Settings: how a model is pruned and repaired."""

from dataclasses import dataclass
from typing import Literal

from infoprune.errors import InputError

Refresh = Literal["site", "round", "never"]
Form = Literal["free", "uniform"]
FORMS: tuple[Form, ...] = ("free", "uniform")
Effort = Literal["quick", "normal", "thorough"]
EFFORTS: dict[Effort, bool | None] = {"quick": False, "normal": None, "thorough": True}
"""Whether a repair re-fits neurons, by its effort; None where there are enough tokens."""


@dataclass(frozen=True)
class Settings:
    """Settings of `prune`; docs/research/ablation.md shows the effect of each choice.

    Args:
        rounds: Number of parts in which the units are chosen. Each part cuts and repairs the dense model, and the next
            part ranks the units of the result. With `distill` each part trains its result too, and the next part cuts
            the trained model.
        refresh: When to collect new statistics of the model that is cut so far: before every "site", from the top down
            (one more pass per site), before every "round", or "never" (every round follows the first ranking).
        smoothing: Token weight of a token without gradient, a fraction of the mean, in the moments and in the repair.
        shrinkage: Ridge of the covariances by which the units are ranked, a fraction of their mean diagonal.
        repair: Re-fit the readers bottom-up after each part.
        ridge: Ridge of the repair, a fraction of the inputs' mean variance; None chooses it on held-out texts.
        augmentations: Number of augmented inputs per input, with some of its tokens replaced, that the repair reads too
            (see `with_augmentations`). None means some where inputs are few, and none where they are many or where the
            model has an output at every token.
        producers: Let the repair re-fit producers as well as readers.
        effort: Time for the repair. "quick" re-fits linear modules alone; "normal" also re-fits neurons, layer by
            layer, to the output that their reader has to give, where there are 32 tokens for every input of a layer,
            which takes up to three times as long; "thorough" always does.
        shape: "uniform" permits the sizes that plain transformers can open, the same in every layer; "free" permits
            any.
        memory: Bytes that the process may take, with all that it holds already. Where graph and statistics take more
            than is left, layers are collected one after the other, and the statistics are kept on disk; the repair
            reads as many inputs as fit; what no stage can keep is refused beforehand. None leaves half of the free
            memory to graph and statistics, and nine tenths to the repair.

    Raises:
        InputError: A setting is out of range.

    Examples:
        >>> settings = Settings(repair=False)
        >>> infoprune.prune(model, batches, keep=0.5, settings=settings).report.seconds["repair"]
        0.0
    """

    rounds: int = 1
    refresh: Refresh = "round"
    smoothing: float = 3.0
    shrinkage: float = 1e-2
    repair: bool = True
    ridge: float | None = None
    augmentations: int | None = None
    producers: bool = True
    effort: Effort = "normal"
    shape: Form = "free"
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"`rounds` is {self.rounds}, expected at least 1; 1 is a good choice")
        if self.augmentations is not None and self.augmentations < 0:
            raise InputError(
                f"`augmentations` is {self.augmentations}, expected 0 or more; leave it out, or pass 0 for none"
            )
        if self.refresh not in ("site", "round", "never"):
            raise InputError(
                f"`refresh` is {self.refresh!r}, expected one of: site, round, never; pass e.g. refresh 'round'"
            )
        if self.shape not in FORMS:
            raise InputError(f"`shape` is {self.shape!r}, expected one of: free, uniform; pass e.g. `shape=free`")
        if self.effort not in EFFORTS:
            raise InputError(
                f"`effort` is {self.effort!r}, expected one of: {', '.join(EFFORTS)}; pass e.g. `effort=normal`"
            )
        if self.memory is not None and self.memory < 1:
            raise InputError(f"`memory` is {self.memory} bytes, expected more than none; pass e.g. {2**30} for 1 GiB")
        if self.memory is not None and self.refresh == "site":
            raise InputError(
                "`memory` was given, but refresh 'site' keeps the statistics of all sites in memory; "
                "use refresh 'round'"
            )
