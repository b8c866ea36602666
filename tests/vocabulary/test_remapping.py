"""Laws of the search for the nearest row; the oracle compares every row with every kept one."""

import pytest
import torch
from tiny import normal, spread

from infoprune.vocabulary.remapping import remap_tokens


def by_hand(table, metric, kept):
    """The same, one pair at a time."""
    distances = [[float((a - b) @ metric @ (a - b)) for b in table[kept]] for a in table]
    return [int(kept[row.index(min(row))]) for row in distances]


@pytest.mark.parametrize("panel", [1, 3, 7, 100])
@pytest.mark.parametrize("kept", [[0], [2, 3, 11], list(range(0, 40, 3)), list(range(40))])
def test_every_row_finds_the_nearest(panel, kept):
    table, metric, chosen = normal(40, 6), spread(6, decay=4.0), torch.tensor(kept)
    found = remap_tokens(table, metric, chosen, panel)
    assert found.tolist() == by_hand(table, metric, chosen)
    assert found[chosen].tolist() == kept


def test_the_metric_decides():
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    kept = torch.tensor([1, 2])
    assert remap_tokens(table, torch.diag(torch.tensor([1.0, 1.0])), kept)[0] == 1
    assert remap_tokens(table, torch.diag(torch.tensor([9.0, 1.0])), kept)[0] == 2


def test_rows_far_from_the_origin_are_told_apart():
    table = torch.cat([normal(30, 4), normal(30, 4, seed=1)]) * 1e-3 + 100
    metric, kept = spread(4), torch.arange(30)
    assert remap_tokens(table, metric, kept, 8).tolist() == by_hand(table, metric, kept)


def test_of_equal_rows_the_first_is_taken():
    table = torch.ones(9, 2)
    for panel in (1, 2, 9):
        assert remap_tokens(table, torch.eye(2), torch.tensor([3, 4, 8]), panel).tolist() == [3, 3, 3, 3, 4, 3, 3, 3, 8]


def test_the_memory_is_that_of_panels():
    """Of 4,000 rows by 2,000, 8 bytes for every pair would be 64 MB."""
    table, kept = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)), torch.arange(0, 4000, 2)
    with torch.profiler.profile(profile_memory=True) as seen:
        found = remap_tokens(table, torch.eye(8, dtype=torch.float64), kept, 64)
    assert max(event.self_cpu_memory_usage for event in seen.events()) < 1e6
    assert torch.equal(found, remap_tokens(table, torch.eye(8, dtype=torch.float64), kept))
