"""The least memory with which statistics can be collected."""

from infoprune.errors import InputError
from infoprune.files.kept_tensors import KeptTensors
from infoprune.statistics.micro_batches import micro_batches
from infoprune.statistics.segments import segments
from infoprune.structure.replay import Replay
from infoprune.structure.sites import find_sites, layer_paths


def little_memory(model, batches):
    """Return the bytes that the largest layer takes, to a tenth, and the number of segments that they give."""
    found, memory, pieces = None, 1 << 26, micro_batches(model, batches)
    with KeptTensors() as kept:
        replay = Replay(model, layer_paths(model), kept)
        with replay.installed():
            while True:
                try:
                    found = (
                        memory,
                        len(segments(model, find_sites(model), pieces, memory, replay)),
                    )
                except InputError:
                    return found
                memory = memory * 9 // 10
