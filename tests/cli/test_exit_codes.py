"""Exit codes: 0, 2 and 1 of the installed program, and what an error or Ctrl-C leaves behind."""

import os
import subprocess
import sys

from infoprune.jobs import prune as prune_job


def test_a_full_folder_is_replaced_only_if_forced(run, saved_bert, reviews, out):
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    command = ("prune", saved_bert, out, "--data", reviews, "--plan-only")
    status, _, err = run(*command)
    assert (status, "--force" in err, (out / "notes.txt").read_text()) == (2, True, "mine")
    assert run(*command, "--force")[0] == 0
    assert [file.name for file in out.iterdir()] == ["plan.json"]


def test_other_errors_end_with_1_and_leave_nothing(run, monkeypatch, saved_bert, reviews, out):
    def broken(*arguments, **options):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(prune_job, "write_model", broken)
    command = ("prune", saved_bert, out, "--data", reviews, "--no-repair", "--samples", "8")
    status, _, err = run(*command)
    assert status == 1
    assert err.splitlines()[-1] == "error: RuntimeError: out of memory (set INFOPRUNE_DEBUG=1 for the traceback)"
    assert sorted(out.parent.iterdir()) == sorted([saved_bert, reviews])
    monkeypatch.setenv("INFOPRUNE_DEBUG", "1")
    assert "Traceback" in run(*command)[2]


def test_ctrl_c_is_one_line_and_leaves_nothing(run, monkeypatch, saved_bert, reviews, out):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(prune_job, "write_model", interrupted)
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--no-repair", "--samples", "8")
    assert status == 1
    assert err.splitlines()[-1] == "error: interrupted; no incomplete result is left"
    assert sorted(out.parent.iterdir()) == sorted([saved_bert, reviews])


def test_the_installed_program_keeps_its_exit_codes(tmp_path):
    program = [sys.executable, "-c", "import sys; from infoprune.cli import main; sys.exit(main())"]

    def installed(*arguments):
        command = [*program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, timeout=300)
        return done.returncode, done.stderr

    assert installed("families") == (0, "")
    status, err = installed("prune", tmp_path, tmp_path / "out")  # refused before torch is imported
    assert (status, err) == (2, "error: Missing option '--data'; see infoprune prune --help\n")
