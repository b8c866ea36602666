"""Processes: one computation on the inputs of several processes, such as those that torchrun starts.

Inside a torch.distributed process group every process passes its own batches, sums are added up over all of them, and
every process gets the same result. Without a group nothing here does anything.
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
    """How many processes share the work."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_index() -> int:
    """Which of them this is; the first is 0."""
    return distributed.get_rank() if process_count() > 1 else 0


def share_of(items: Sequence[T]) -> Sequence[T]:
    """This process's share of what is to be done: every n-th for n processes.

    Example:
        >>> share_of(batches)  # in the second of two processes: the second, the fourth, ...
    """
    return items[process_index() :: process_count()]


def add_up(*tensors: Tensor) -> None:
    """Replaces every tensor, in place, by its sum over all processes, which is the same to the last bit in all."""
    if process_count() > 1:
        for tensor in tensors:
            _through(tensor, distributed.ReduceOp.SUM)


def largest(number: int) -> int:
    """The largest of the processes' numbers."""
    if process_count() == 1:
        return number
    found = torch.tensor(number)
    _through(found, distributed.ReduceOp.MAX)
    return int(found)


def total(*numbers: int) -> tuple[int, ...]:
    """Sums of numbers over all processes."""
    found = torch.tensor(numbers)
    add_up(found)
    return tuple(found.tolist())


def starts(sizes: Sequence[int]) -> list[int]:
    """Where each of this process's batches begins among the inputs of all processes.

    The batches count as dealt out by `share_of`: the first of every process, then the second of every process, ...

    Args:
        sizes: inputs of each batch of this process.

    Example:
        >>> starts([4, 2, 3])  # in a process alone
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
    """The tables of all processes, in the order of the deal; every process may have another number of them.

    Args:
        tensors: matrices of any shapes.
        dtype: of all of them.
    """
    if process_count() == 1:
        return list(tensors)
    shapes = torch.zeros(largest(len(tensors)), process_count(), 2, dtype=torch.long)
    for row, tensor in zip(shapes, tensors, strict=False):
        row[process_index()] = torch.tensor(tensor.shape)
    add_up(shapes)
    sizes = shapes.prod(-1).flatten().tolist()
    places = torch.split(torch.zeros(sum(sizes), dtype=dtype), sizes)
    for place, tensor in zip(places[process_index() :: process_count()], tensors, strict=False):
        place.copy_(tensor.flatten())
    for place in places:
        add_up(place)
    there = [each for each in zip(places, shapes.flatten(0, 1).tolist(), strict=True) if each[1] != [0, 0]]
    return [place.reshape(shape) for place, shape in there]


def as_the_first_says(text: str) -> str:
    """The first process's text, in all processes: a choice is made once, for two machines may round differently."""
    if process_count() == 1:
        return text
    said = text.encode()
    letters = torch.zeros(largest(len(said)), dtype=torch.long)
    if process_index() == 0:
        letters[: len(said)] = torch.frombuffer(bytearray(said), dtype=torch.uint8)
    add_up(letters)
    return bytes(letters.tolist()).rstrip(b"\0").decode()


@contextmanager
def process_group(device: str = "auto") -> Iterator[str]:
    """Joins the processes that torchrun or accelerate has started, for a while; gives the name of this one's device.

    Does nothing where the environment tells of no other processes, or where there is a group already.

    Args:
        device: "auto", "cpu" or "cuda": every process on a machine takes a GPU of its own.

    Example:
        >>> with process_group() as device:
        ...     compress(model.to(device), share_of(batches))
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        yield device
        return
    gpu = device in ("auto", "cuda") and torch.cuda.is_available()
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
    """Reduces a tensor in place, by way of the GPU where the group knows only those."""
    elsewhere = distributed.get_backend() == "nccl" and tensor.device.type != "cuda"
    sent = tensor.cuda() if elsewhere else tensor
    distributed.all_reduce(sent, operation)
    if elsewhere:
        tensor.copy_(sent)
