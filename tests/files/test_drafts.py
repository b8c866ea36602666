"""What a killed process leaves is cleared by the next one that writes there, and nothing else is."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest
from little_memory import little_memory
from tiny import make_batches

from infoprune.files.drafts import draft_beside
from infoprune.files.folders import new_folder
from infoprune.statistics.collect import collect

WRITER = """
import sys, time
from pathlib import Path
from infoprune.files.drafts import draft_beside
from infoprune.statistics.collect import collect
with draft_beside(Path(sys.argv[1]), sys.argv[2]) as draft:
    (draft / "half").write_text("half")
    print(draft.name, flush=True)
    time.sleep(600)
"""


@contextmanager
def writer(out, suffix="draft"):
    """A process that is in the midst of writing: it, and the name of its draft."""
    call = [sys.executable, "-c", WRITER, out, suffix]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def killed(out, suffix="draft"):
    """What a writer that is killed leaves."""
    with writer(out, suffix) as (process, name):
        process.send_signal(signal.SIGKILL)
    assert (out.parent / name / "half").is_file()
    return name


def test_a_later_run_clears_the_drafts_of_the_dead_and_not_those_of_the_living(tmp_path):
    out = tmp_path / "out"
    dead = [killed(out), killed(out)]
    with writer(out) as (_, alive), new_folder(out) as draft:
        there = set(os.listdir(tmp_path))
        assert there == {alive, draft.name}
        assert not set(dead) & there
    assert set(os.listdir(tmp_path)) == {alive, "out"}
    with new_folder(out):
        pass
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_not_a_draft_of_that_very_result_stays(tmp_path):
    other = killed(tmp_path / "out.b")
    kept = {other, ".out", ".out.backup", ".out.abcdefgh", ".out.abcdefg.draft", "out.abcdefgh.draft", ".xout.a.draft"}
    for name in kept - {other}:
        (tmp_path / name).mkdir()
    (tmp_path / ".out.notfolder.draft").write_text("mine")
    (tmp_path / ".out.filefile.draft").write_text("mine")
    (tmp_path / ".out.linklink.draft").symlink_to(tmp_path / ".out.backup")
    kept |= {".out.notfolder.draft", ".out.filefile.draft", ".out.linklink.draft"}
    with new_folder(tmp_path / "out"):
        pass
    assert set(os.listdir(tmp_path)) == {"out", *kept}


def test_an_old_result_that_was_put_aside_stays_until_there_is_a_new_one(tmp_path):
    out = tmp_path / "out"
    name = killed(out, "old")
    with new_folder(out) as draft:
        (draft / "new").write_text("new")
    assert set(os.listdir(tmp_path)) == {"out", name}
    with new_folder(out, force=True):
        pass
    assert os.listdir(tmp_path) == ["out"]


def put_aside(out, place):
    with draft_beside(out, "old") as old:
        place.append(old)
        out.rename(old / "out")
        raise KeyboardInterrupt


def test_an_interrupt_while_the_old_one_is_aside_loses_nothing(tmp_path):
    out, place = tmp_path / "out", []
    out.mkdir()
    with pytest.raises(KeyboardInterrupt):
        put_aside(out, place)
    assert (place[0] / "out").is_dir()


def test_a_place_that_cannot_be_listed_is_no_reason_to_fail(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o333)
    with new_folder(tmp_path / "shut" / "out"):
        pass
    assert (tmp_path / "shut" / "out").is_dir()
    (tmp_path / "shut").chmod(0o755)


def test_statistics_on_disk_go_with_their_value_or_with_the_next_ones(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = killed(tmp_path / "infoprune-statistics")
    statistics = collect(tiny_bert, make_batches(), memory=little_memory(tiny_bert, make_batches())[0])
    there = os.listdir(tmp_path)
    assert there
    assert dead not in there
    del statistics
    gc.collect()
    assert os.listdir(tmp_path) == []
