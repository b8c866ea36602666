import pytest
from rows import NEGATIVE, POSITIVE, write_rows

from infoprune.cli import main


@pytest.fixture
def reviews(tmp_path):
    rows = [
        (f"the {noun} is {first} and very {second}", int(first in POSITIVE))
        for noun in ("film", "plot")
        for first in (*POSITIVE, *NEGATIVE)
        for second in (*POSITIVE, *NEGATIVE)
    ]
    return write_rows(tmp_path / "reviews.csv", rows)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def refused(run, out):
    """Run a command that must refuse its input; its one line on stderr."""

    def call(*arguments, words):
        before = sorted(out.parent.iterdir())
        status, _, err = run(*arguments)
        assert status == 2, err
        assert err.startswith("error: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        for word in words:
            assert str(word) in err
        assert sorted(out.parent.iterdir()) == before, "nothing may be written"
        assert not out.exists()
        return err

    return call


@pytest.fixture
def small(run, saved_bert, reviews, out):
    """The folder of a pruned model."""
    status, _, err = run("prune", saved_bert, out, "--data", reviews, "--eval", reviews)
    assert err == ""
    assert status == 0
    return out
