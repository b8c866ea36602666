"""Processes: one computation on the inputs of several processes, such as those that torchrun starts.

Inside a torch.distributed process group every process passes its own batches, sums are added up over all processes, and
every process gets the same result. Without a group these functions have no effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def process_count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_index() -> int:
    """Return the index of this process; the first is 0."""
    return distributed.get_rank() if process_count() > 1 else 0


def share_of(items: Sequence[T]) -> Sequence[T]:
    """Return this process's share of some items: every n-th for n processes.

    Examples:
        >>> share_of(batches)  # in the second of two processes: the second, the fourth, ...
    """
    return items[process_index() :: process_count()]


def add_up(*tensors: Tensor) -> None:
    """Replace every tensor, in place, by its sum over all processes, bitwise identical in all."""
    if process_count() > 1:
        for tensor in tensors:
            _through(tensor, distributed.ReduceOp.SUM)


def largest(number: int) -> int:
    """Return the largest of the processes' numbers."""
    if process_count() == 1:
        return number
    found = torch.tensor(number)
    _through(found, distributed.ReduceOp.MAX)
    return int(found)


def total(*numbers: int) -> tuple[int, ...]:
    """Return the sum of each number over all processes."""
    found = torch.tensor(numbers)
    add_up(found)
    return tuple(found.tolist())


def starts(sizes: Sequence[int]) -> list[int]:
    """Return the index of each batch's first input among the inputs of all processes.

    The batches are ordered as `share_of` distributes them: the first of every process, then the second of every
    process, ...

    Args:
        sizes: Number of inputs of each batch of this process.

    Examples:
        >>> starts([4, 2, 3])  # in a single process
        [0, 4, 6]
    """
    table = torch.zeros(largest(len(sizes)), process_count(), dtype=torch.long)
    mine = table[: len(sizes), process_index()]
    mine.copy_(torch.tensor(sizes, dtype=torch.long))
    add_up(table)
    before = table.flatten().cumsum(0).reshape(table.shape) - table
    found: list[int] = before[: len(sizes), process_index()].tolist()
    return found


def of_all(tensors: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the matrices of all processes, in the order of `share_of`; each process may have a different number.

    Args:
        tensors: Matrices of any shapes.
        dtype: Type of all of them.
    """
    if process_count() == 1:
        return list(tensors)
    shapes = torch.zeros(largest(len(tensors)), process_count(), 2, dtype=torch.long)
    for row, tensor in zip(shapes, tensors, strict=False):
        row[process_index()] = torch.tensor(tensor.shape)
    add_up(shapes)
    sizes = shapes.prod(-1).flatten().tolist()
    slots = torch.split(torch.zeros(sum(sizes), dtype=dtype), sizes)
    for slot, tensor in zip(slots[process_index() :: process_count()], tensors, strict=False):
        slot.copy_(tensor.flatten())
    for slot in slots:
        add_up(slot)
    there = [each for each in zip(slots, shapes.flatten(0, 1).tolist(), strict=True) if each[1] != [0, 0]]
    return [slot.reshape(shape) for slot, shape in there]


def as_the_first_says(text: str) -> str:
    """Return the first process's text in all processes, since two machines may round, and so choose, differently."""
    if process_count() == 1:
        return text
    encoded = text.encode()
    letters = torch.zeros(largest(len(encoded)), dtype=torch.long)
    if process_index() == 0:
        letters[: len(encoded)] = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
    add_up(letters)
    return bytes(letters.tolist()).rstrip(b"\0").decode()


@contextmanager
def process_group(device: str = "auto") -> Iterator[str]:
    """Join the processes of torchrun or accelerate within the block, and yield the name of this process's device.

    Without other processes in the environment, or inside another group, this has no effect.

    Args:
        device: "auto", "cpu", "cuda" or "mps"; with GPUs every process on a machine uses a GPU of its own.

    Examples:
        >>> with process_group() as device:
        ...     prune(model.to(device), share_of(batches))
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield device
        return
    gpu = device == "cuda" and torch.cuda.is_available()
    if gpu:
        index = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
        torch.cuda.set_device(index)
        device = f"cuda:{index}"
    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def _through(tensor: Tensor, operation: distributed.ReduceOp.RedOpType) -> None:
    """Reduce a tensor in place, by way of the GPU where the group supports GPUs alone."""
    elsewhere = distributed.get_backend() == "nccl" and tensor.device.type != "cuda"
    sent = tensor.cuda() if elsewhere else tensor
    distributed.all_reduce(sent, operation)
    if elsewhere:
        tensor.copy_(sent)
