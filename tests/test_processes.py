"""Two gloo processes, started once, against one: each does everything below with its share of the batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zoo
from safetensors.torch import load_file, save_file
from tiny import make_batches
from torch.testing import assert_close

from infoprune.budgets.budget import Budget
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.search import search
from infoprune.pipeline.settings import Settings
from infoprune.pipeline.size import MaxLoss
from infoprune.processes import as_the_first_says, largest, of_all, share_of, starts, total
from infoprune.ranking.fan2021 import Fan2021
from infoprune.repairing import neurons
from infoprune.statistics.collect import collect, collect_importance
from infoprune.statistics.embedding_fisher import embedding_fisher
from infoprune.training.distill import Distillation

LENGTHS = ((5, 9, 3, 6), (7, 4, 7), (12, 8, 9, 11), (4, 10), (6, 6, 13))
PROCESSES = 2
CUTS = {
    "keep": {"keep": 0.5},
    "flops": {"budget": Budget("flops", 0.6)},
    "neurons": {"keep": 0.5, "settings": Settings(effort="thorough")},
    "fan2021": {"keep": 0.5, "criterion": Fan2021()},
}


def build():
    return zoo.build("bert", torch.float64)


def outcome(batches):
    """Everything that should be the same in every process, as tensors and as JSON."""
    tensors, facts = {}, {}
    statistics = collect(build(), batches)
    for name, site in statistics.sites.items():
        tensors |= {f"{name}.covariance": site.covariance, f"{name}.demand": site.fisher}
        tensors |= {f"{name}.worth.{index}": importance for index, importance in enumerate(statistics.importance[name])}
    importance = collect_importance(build(), batches)
    tensors |= {f"{name}.alone": fisher.double() for name, fisher in importance.fisher.items()}
    tensors["entry"] = embedding_fisher(build(), batches)
    facts["keys"], facts["tokens"] = statistics.keys, statistics.tokens
    for name, how in CUTS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neurons, "_gains", lambda *_: True)  # of so few tokens it would be false everywhere
            result = prune(build(), batches, **how)
        tensors |= {f"{name}.{key}": value for key, value in result.model.state_dict().items()}
        facts[name] = {site: list(kept) for site, kept in result.plan.kept.items()}
        facts[f"{name}.report"] = [result.report.samples, *result.report.shape]
    return tensors, facts


def refusals(batches):
    """What each process says where it is asked for what several cannot do."""
    said = []
    model = build()
    for attempt in (
        lambda: prune(model, batches, distill=Distillation(), distill_batches=batches),
        lambda: search(model, batches, batches, MaxLoss("kl", 1.0)),
        lambda: prune(model, batches, criterion=Fan2021(estimator="ksg")),
        lambda: collect(model, batches if torch.distributed.get_rank() else []),
    ):
        with pytest.raises(InputError) as error:
            attempt()
        said.append(str(error.value))
    return said


def work(folder, index):
    """One of the processes."""
    store = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=store, rank=index, world_size=PROCESSES)
    mine = share_of(make_batches(LENGTHS))
    tensors, facts = outcome(mine)
    facts["starts"] = starts([len(batch["input_ids"]) for batch in mine])
    facts["said"] = as_the_first_says("first" if index == 0 else "another, longer")
    facts["sums"] = [largest(index), *total(index + 1, 10)]
    facts["tables"] = [table.tolist() for table in of_all([torch.full((1, index + 1), index)], torch.long)]
    facts["refusals"] = refusals(mine)
    torch.distributed.destroy_process_group()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"{index}.safetensors")
    (folder / f"{index}.json").write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    numbers = range(PROCESSES)
    started = [subprocess.Popen([sys.executable, __file__, str(folder), str(index)], env=here) for index in numbers]
    assert [each.wait(timeout=300) for each in started] == [0] * PROCESSES
    return [
        (load_file(folder / f"{index}.safetensors"), json.loads((folder / f"{index}.json").read_text()))
        for index in numbers
    ]


@pytest.fixture(scope="module")
def alone():
    tensors, facts = outcome(make_batches(LENGTHS))
    return tensors, json.loads(json.dumps(facts))


def test_all_processes_have_the_same(several):
    (first, facts), (second, others) = several
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {**facts, "starts": None} == {**others, "starts": None}


@pytest.mark.parametrize("cut", CUTS)
def test_several_choose_as_one_does(several, alone, cut):
    _, facts = several[0]
    assert facts[cut] == alone[1][cut]
    assert facts[f"{cut}.report"] == alone[1][f"{cut}.report"]


def test_several_compute_what_one_does(several, alone):
    tensors, facts = several[0]
    assert (facts["keys"], facts["tokens"]) == (alone[1]["keys"], alone[1]["tokens"])
    assert tensors.keys() == alone[0].keys()
    for name, tensor in alone[0].items():
        assert_close(tensors[name], tensor, rtol=1e-7, atol=1e-9, msg=lambda said, name=name: f"{name}: {said}")


def test_neurons_are_refitted_here(alone):
    tensors, _ = alone
    path = "bert.encoder.layer.0.intermediate.dense.weight"
    assert not torch.allclose(tensors[f"neurons.{path}"], tensors[f"keep.{path}"])


def test_texts_keep_their_numbers(several):
    assert [facts["starts"] for _, facts in several] == [[0, 7, 13], [4, 11]]


def test_what_processes_tell_one_another(several):
    for _, facts in several:
        assert facts["said"] == "first"
        assert facts["sums"] == [1, 3, 20]
        assert facts["tables"] == [[[0]], [[1, 1]]]


def test_what_several_refuse(several):
    distill, searching, drawing, idle = several[0][1]["refusals"]
    assert "2 processes were to distill" in distill
    assert "finetune --teacher" in distill
    assert "2 processes were to search, expected one" in searching
    assert "gaussian estimator, or one process" in drawing
    assert "1 of 2 processes have no calibration inputs" in idle
    assert "fewer processes" in idle


def test_alone_nothing_is_asked():
    assert starts([4, 2, 3]) == [0, 4, 6]
    assert (largest(3), total(1, 2), as_the_first_says("so")) == (3, (1, 2), "so")
    tensor = torch.ones(1, 1)
    assert of_all([tensor])[0] is tensor
    assert share_of([1, 2, 3]) == [1, 2, 3]


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
