"""Machine: store what is measured on this machine on disk, so that it is measured once."""

import json
import os
import platform
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
import transformers
from huggingface_hub import cached_assets_path

Json = dict[str, object]


def remembered(what: str, key: Json, device: torch.device, measure: Callable[[], list[float]]) -> list[float]:
    """Return the stored measurement with this key and machine; where there is none, measure and store it.

    Args:
        what: Name of the measurement: a folder in the assets cache of huggingface_hub (HF_ASSETS_CACHE moves it).
        key: Everything that the result depends on, except for the machine.
        device: The device that is measured.
        measure: Function that measures and returns the numbers.

    Examples:
        >>> remembered("rounding", {"dtype": "float32"}, torch.device("cpu"), measure)
        [8.0]
    """
    key = {**key, "machine": fingerprint(device)}
    text = json.dumps(key, sort_keys=True)
    folder = cached_assets_path("infoprune", namespace="measured", subfolder=what)
    file = folder / f"{sha256(text.encode()).hexdigest()[:16]}.json"
    stored = _read(file, key)
    if stored is not None:
        return stored
    values = measure()
    _write(file, {"key": key, "values": values})
    return values


def fingerprint(device: torch.device) -> Json:
    """Return what identifies this machine: device, threads, cores, and the versions of torch and transformers."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "name": name,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


@cache
def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{names[0] if names else platform.processor() or platform.machine()} {capability}"


def _read(file: Path, key: Json) -> list[float] | None:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return [float(value) for value in stored["values"]] if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: measure anew


def _write(file: Path, content: Json) -> None:
    # a cache that cannot be written only costs time at the next run, so this run goes on
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False, encoding="utf-8") as draft:
            json.dump(content, draft)
        Path(draft.name).replace(file)
    except OSError:
        return
