"""Sizes: what a pruned model's config.json says beyond the fields of its class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import PretrainedConfig

from infoprune.errors import InputError

METHOD = "infoprune"
"""Name of the method in `quantization_config`: the field by which transformers finds how to prepare a model."""
FIELD = "quantization_config"
VERSION = 1
NOTE = "pip install infoprune, then import infoprune before from_pretrained"


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model that its class does not give it.

    Args:
        units: Number of units by site name, where the other fields of the config imply another one; 0 for a block that
            is removed. "vocabulary" is the number of rows of an embedding table whose tokens are remapped.
        biases: Linear modules with a bias that their class does not give them: paths relative to the base model, or to
            the whole model above it.
        indices: Values of index buffers by name, where the weights lack them, as in folders of release 0.1; else empty.
    """

    units: dict[str, int]
    biases: tuple[str, ...] = ()
    indices: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.units or self.biases)

    def to_dict(self) -> dict[str, Any]:
        """Return the value of `quantization_config` in config.json."""
        fields: dict[str, Any] = {"quant_method": METHOD, "version": VERSION, "opens_with": NOTE, "units": self.units}
        if self.biases:
            fields["biases"] = list(self.biases)
        if self.indices:
            fields["indices"] = {name: list(values) for name, values in self.indices.items()}
        return fields

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sizes:
        """Read the value of `quantization_config` in a config.json, which may be damaged.

        Raises:
            InputError: It is of another version, or a field has the wrong type.
        """
        if data.get("version") is True or data.get("version") != VERSION:
            raise InputError(
                f"config.json has pruned sizes of version {data.get('version')!r}, expected {VERSION}; "
                "install the newest release of infoprune, or prune again"
            )
        units, biases, indices = data.get("units"), data.get("biases", []), data.get("indices", {})
        known = (
            _is_table(units, _is_count)
            and isinstance(biases, list)
            and all(isinstance(path, str) for path in biases)
            and _is_table(indices, lambda values: isinstance(values, list) and all(map(_is_count, values)))
        )
        if not known:
            raise InputError(
                "config.json has damaged pruned sizes, expected numbers of units by site and paths of biases; "
                "restore the file, or prune again"
            )
        return cls({**(units or {})}, tuple(biases), {name: tuple(values) for name, values in indices.items()})


def sizes_in(config: PretrainedConfig | dict[str, Any]) -> Sizes | None:
    """Return the pruned sizes in a config, or None where its class gives all sizes.

    Args:
        config: A config of transformers, or the contents of a config.json.

    Raises:
        InputError: They are damaged.
    """
    found = config.get(FIELD) if isinstance(config, dict) else getattr(config, FIELD, None)
    if isinstance(found, dict) and found.get("quant_method") == METHOD:
        return Sizes.from_dict(found)
    return None


def write_sizes(config: PretrainedConfig, sizes: Sizes | None) -> None:
    """Write pruned sizes into a config, or remove them; the entry of another method is left alone."""
    if sizes:
        setattr(config, FIELD, sizes.to_dict())
    elif sizes_in(config) is not None:
        delattr(config, FIELD)


def _is_table(value: object, each: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict) and all(isinstance(name, str) and each(item) for name, item in value.items())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
