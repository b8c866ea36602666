"""A process of its own that talks to a local hub: huggingface_hub reads the address of the hub when it is imported.

As a program it reads calls as lines of JSON and answers each with a line of JSON.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path


class Client:
    """Calls a function in a process whose hub is the given address."""

    def __init__(self, address, home, **more):
        here = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[2] / name) for name in ("src", "tests")),
            **more,
        }
        for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_ASSETS_CACHE"):
            here.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=here,
        )

    def call(self, name, *arguments, token=None, **options):
        """What a function returns; what it raises, as (name of the class, message)."""
        given = {"name": name, "arguments": [*map(str, arguments)], "options": options, "token": token}
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.kill()
        self._process.wait(30)


def folder(source, **options):
    from infoprune.sources.models import model_folder

    return str(model_folder(source, **options))


def progress(source):
    from infoprune.sources.models import model_folder

    seen = []
    model_folder(source, progress=lambda *step: seen.append(step))
    return seen


def texts(place, **options):
    from infoprune.data.texts import read_texts

    found = read_texts(place, **options)
    return {"texts": found.texts, "labels": found.labels, "source": found.source, "classes": found.classes}


def some_texts(place, most_bytes, most_rows):
    """The texts of a dataset that is too large, and the warning."""
    import warnings

    from infoprune.sources import rows

    before = rows.MOST_BYTES, rows.MOST_ROWS
    rows.MOST_BYTES, rows.MOST_ROWS = int(most_bytes), int(most_rows)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            found = texts(place)
        return {**found, "warnings": [str(each.message) for each in seen if each.category is UserWarning]}
    finally:
        rows.MOST_BYTES, rows.MOST_ROWS = before


def some_media(place, media, most_bytes=10):
    """The digests of pictures or clips of a dataset that is too large, or not, and their labels."""
    import hashlib

    from infoprune.data.media import read_media
    from infoprune.sources import rows

    before, rows.MOST_BYTES = rows.MOST_BYTES, most_bytes
    try:
        found = read_media(place, media)
        digests = [hashlib.sha256(item.load()).hexdigest() for item in found.items]
        return {"digests": digests, "labels": found.labels, "transcripts": found.transcripts}
    finally:
        rows.MOST_BYTES = before


def command(*arguments):
    """Run the command line: (exit code, stdout, stderr)."""
    from infoprune.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(arguments))
    return status, out.getvalue(), err.getvalue()


def serve():
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        given = json.loads(line)
        os.environ.pop("HF_TOKEN", None)
        if given["token"]:
            os.environ["HF_TOKEN"] = given["token"]
        try:
            result = globals()[given["name"]](*given["arguments"], **given["options"])
        except Exception as error:
            result = [type(error).__name__, str(error)]
        answers.write(json.dumps(result) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
