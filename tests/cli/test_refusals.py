"""Wrong inputs end with exit code 2, one line that says what to do, and nothing written; the rows are in refusals/."""

import re
import shlex

import pytest
from refusals import commands, models, options, sizes, texts
from refusals.places import Places

from infoprune.cli import main

ROWS = [row for table in (models, texts, sizes, options, commands) for row in table.ROWS]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return Places(tmp_path_factory.mktemp("places"))


@pytest.fixture
def refused(places, capfd):
    """Run a row's command, which must be refused; its one line on stderr."""

    def call(row):
        places.outs += 1
        arguments = shlex.split(row.command.format_map(places))
        before = {path: path.lstat().st_mtime_ns for path in places.root.rglob("*")}
        capfd.readouterr()
        status = main(arguments)
        err = capfd.readouterr().err
        assert status == 2, err
        assert re.fullmatch(r"error: [^\n]+\n", err), "one line"
        assert {path: path.lstat().st_mtime_ns for path in places.root.rglob("*")} == before, "nothing is written"
        for words in row.says:
            assert words.format_map(places) in err
        return err

    return call


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_line_says_what_was_given_what_is_expected_and_what_to_do(refused, row):
    refused(row)


@pytest.mark.parametrize("row", [row for row in ROWS if row.follow], ids=lambda row: f"{row} -> {row.follow}")
def test_what_the_line_proposes_works(places, refused, capfd, row):
    err = refused(row)
    arguments = shlex.split(row.command.format_map(places))
    option, _, value = row.follow.partition(" ")
    if value:
        assert row.follow in err, "the line proposes it word for word"
        arguments = [*leave_out(f"-{option.lstrip('-')}", arguments), option, value]
    else:
        arguments = leave_out(option, arguments)
    if arguments[0] == "prune":
        cheap = ["--plan-only", "--no-repair", "--samples", "8"]
        arguments += (
            cheap if "--criterion" in arguments or "nats" in arguments else [*cheap, "--criterion", "magnitude"]
        )
    assert main(arguments) == 0, capfd.readouterr().err


def leave_out(option, arguments):
    """Arguments without "-NAME", written --NAME there, and its value if it has one."""
    name = f"-{option}"
    if name not in arguments:
        return arguments
    index = arguments.index(name)
    after = arguments[index + 1 : index + 2]
    flag = not after or after[0].startswith("--")
    return [*arguments[:index], *arguments[index + (1 if flag else 2) :]]


def test_there_are_a_hundred_different_wrong_inputs():
    assert len({row.command for row in ROWS}) == len(ROWS) >= 100
