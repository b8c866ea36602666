"""Killed, interrupted, out of room: the result is there whole or not at all, and one line says what happened."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infoprune.checkpoint import load

KILLING = Path(__file__).parent.parent / "killing.py"


@pytest.fixture
def command_of(saved_bert, reviews):
    return {
        "prune": ("prune", saved_bert, "OUT", "--data", reviews, "--samples", "8"),
        "finetune": ("finetune", saved_bert, "OUT", "--data", reviews, "--epochs", "0.1"),
        "export": ("export", saved_bert, "OUT.onnx"),
    }


HITS = {
    "prune": {signal.SIGKILL: 20, signal.SIGINT: 2},
    "finetune": {signal.SIGKILL: 1},
    "export": {signal.SIGKILL: 1},
}


@pytest.mark.slow
def test_killed_or_interrupted_at_any_moment_the_result_is_whole_or_absent(run, command_of, tmp_path):
    commands = {
        name: {"words": [str(word) for word in command_of[name]], "signals": {int(s): n for s, n in signals.items()}}
        for name, signals in HITS.items()
    }
    call = [sys.executable, KILLING, tmp_path / "runs", json.dumps(commands)]
    here = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, env=here)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) == len(HITS) + sum(sum(signals.values()) for signals in HITS.values())
    whole = {hit["command"]: hit["files"] for hit in runs if not hit["moment"]}
    died = 0
    for hit in runs:
        expected = whole[hit["command"]]
        left = {name: digest for name, digest in hit["files"].items() if not name.startswith(".")}
        assert left.keys() in (set(), expected.keys()), hit
        assert all(digest == expected[name] for name, digest in left.items() if name.endswith("tensors")), hit
        if hit["status"] == 0:  # the moment was after the end
            assert left
        elif hit["signal"] == signal.SIGINT:
            assert (hit["status"], hit["stderr"]) == (1, "error: interrupted; no incomplete result is left\n"), hit
            assert left.keys() == hit["files"].keys(), "no draft stays behind"
        else:
            assert hit["status"] == -signal.SIGKILL, hit
            died += not left
    assert died > 10, "most were killed before the result was there"
    left = next(hit for hit in runs if hit["command"] == "prune" and any(name.startswith(".") for name in hit["files"]))
    folder = tmp_path / "runs" / f"prune-{left['signal']}-{left['moment']}"
    again = [folder / "out" if word == "OUT" else word for word in command_of["prune"]]
    assert run(*again, "--force")[0] == 0
    assert [path.name for path in folder.iterdir()] == ["out"], "the next run clears the draft"
    assert load(tmp_path / "runs" / "prune-0-0" / "out")


@pytest.mark.parametrize("room", [0, 300, 20_000])
@pytest.mark.parametrize("command", ["prune", "finetune"])
def test_out_of_room(run, command_of, out, command, room):
    before = sorted(out.parent.iterdir())
    arguments = [out if word == "OUT" else word for word in command_of[command]]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        status, _, err = run(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 1
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "too large" in line
    assert sorted(out.parent.iterdir()) == before


@pytest.mark.parametrize("command", ["prune", "finetune", "export"])
def test_a_place_below_a_file_is_refused_at_once(run, command_of, tmp_path, command):
    (tmp_path / "notes").write_text("mine")
    place = {"OUT": tmp_path / "notes" / "out", "OUT.onnx": tmp_path / "notes" / "out.onnx"}
    arguments = [place.get(word, word) for word in command_of[command]]
    status, _, err = run(*arguments)
    assert status == 2
    assert f"{tmp_path / 'notes'} is a file, expected a folder; choose another place" in err
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written_to_is_refused_at_once(run, command_of, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    arguments = [tmp_path / "closed" / "out" if word == "OUT" else word for word in command_of["prune"]]
    status, _, err = run(*arguments)
    assert status == 2
    assert "may not be written to; choose another place" in err
