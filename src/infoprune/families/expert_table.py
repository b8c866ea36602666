"""Dataclasses that describe the experts of a family and the neurons inside them: strings and small numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Experts:
    """Feed-forward networks of a layer, of which a router chooses some for every token.

    The module that holds them is called with tokens (tokens, n), the numbers of the experts of each and their weights,
    both (tokens, chosen), and returns the weighted sum. The weights are the largest of a softmax over all experts.

    Args:
        router: Module with a row of logits for every expert.
        parameters: Parameters with an entry for every expert along their first axis, those of the router first.
        outputs: Those parameters that write an expert's answer, each with the axis of its coordinates in the entry of
            one expert.
        chosen: "module:attribute" with the number of experts that a token reads.
        normalised: Whether the weights of the chosen experts are divided by their sum, or the "module:attribute" that
            says so.
        factor: Number by which the weights are multiplied then, or its "module:attribute".
    """

    router: str
    parameters: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]
    chosen: str
    normalised: bool | str = True
    factor: float | str = 1.0


@dataclass(frozen=True)
class ExpertEntries:
    """Entries of a parameter of all experts that belong to their neurons; its first axis counts the experts.

    Args:
        parameter: Path of the parameter, relative to the layer.
        axis: Axis of the neurons in the entry of one expert.
        parts: As of `Rows`: (1, 1) is gate and up one after the other; (1,) is one number for every neuron, or gate and
            up side by side (gpt-oss). The shape gives the number of entries of a neuron.
    """

    parameter: str
    axis: int
    parts: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Neurons:
    """Neurons inside the experts of a layer, the same number in each.

    Args:
        written: Parameters that write them.
        read: Parameter that reads them, which is among the outputs of the experts.
    """

    written: tuple[ExpertEntries, ...]
    read: ExpertEntries
