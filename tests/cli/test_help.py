"""Help and imports: what they teach, and how long they take."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "command", [(), ("prune",), ("evaluate",), ("finetune",), ("report",), ("families",), ("export",), ("push",)]
)
def test_help_teaches_by_example(run, command):
    status, printed, err = run(*command, "--help")
    assert err == ""
    assert status == 0
    assert "Example: infoprune" in printed


def test_help_imports_nothing_heavy():
    code = (
        "import sys, infoprune.cli\n"
        "assert infoprune.cli.main(['prune', '--help']) == 0\n"
        "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def seconds_of(code):
    """What a process of its own prints; it measures the time of its processor, so that others do not count."""
    done = subprocess.run([sys.executable, "-c", f"import time; {code}"], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def test_help_takes_less_than_a_second():
    assert seconds_of("import infoprune.cli as c; c.main(['--help']); print(time.process_time())") < 1


def test_an_import_takes_no_time_beyond_that_of_torch():
    code = (
        "import sys, torch; began = time.process_time(); import infoprune; spent = time.process_time() - began; "
        "assert 'transformers' not in sys.modules; print(spent)"
    )
    assert seconds_of(code) < 0.3


def test_public_names_are_never_hidden_by_modules_of_the_same_name():
    code = (
        "import infoprune.statistics.collect, infoprune.pipeline.prune, infoprune.repairing.repair, infoprune\n"
        "for name in infoprune.__all__: assert not isinstance(getattr(infoprune, name), type(infoprune.errors)), name\n"
        "assert callable(infoprune.collect) and callable(infoprune.evaluate)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
