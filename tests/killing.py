"""Runs commands again and again, each time in a fork that is hit by a signal at some moment.

    python killing.py FOLDER COMMANDS

COMMANDS is JSON: the words of each, by name, with OUT for the place of the result, and how often it is to be hit by
which signals. Each is first left alone; that tells how many steps it makes in the file system (audit events about a
path in its folder) and how long it takes. Half of the moments at which it is then hit are such steps, half are times.
After each run it is said which files are there, with a digest of each. Libraries are imported once: a run then takes
less than a second.
"""

import hashlib
import json
import os
import random
import sys
import threading
import time
import traceback
from pathlib import Path

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "shutil.copymode"}


def files(folder):
    """Digest by path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def child(folder, number, moment, arguments, errors):
    """In the fork: is hit at the moment; without one it writes how many steps there were, and how many seconds."""
    seen, began = 0, time.perf_counter()
    if isinstance(moment, float):
        threading.Timer(moment, os.kill, (os.getpid(), number)).start()

    def hook(event, given):
        nonlocal seen
        if event in STEPS and given and str(folder) in str(given[0]):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), number)

    sys.addaudithook(hook)
    status = 70
    try:
        from infoprune.cli import main

        with open(errors, "w") as sys.stderr, open(os.devnull, "w") as sys.stdout:
            status = main(arguments)
            if not moment:
                sys.stderr.write(f"{seen} {time.perf_counter() - began}")
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def run(folder, number, moment, arguments):
    errors = folder.with_name("errors")
    process = os.fork()
    if not process:
        child(folder, number, moment, arguments, errors)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return {"moment": moment, "status": status, "stderr": errors.read_text(), "files": files(folder)}


def moments(whole, number):
    """So many moments of a run that was not hit."""
    steps, seconds = whole["stderr"].split()
    seed_run = random.Random(0)
    chosen = seed_run.sample(range(1, int(steps) + 1), min(int(steps), number // 2))
    return [*chosen, *(seed_run.uniform(0.01, 0.9 * float(seconds)) for _ in range(number - len(chosen)))]


def main():
    import torch

    import infoprune.jobs.export
    import infoprune.jobs.finetune
    import infoprune.jobs.prune
    import infoprune.serving.onnx_graph  # noqa: F401

    torch.set_num_threads(1)
    place, commands = Path(sys.argv[1]), json.loads(sys.argv[2])

    def hit(name, number, moment):
        folder = place / f"{name}-{number}-{moment}"
        folder.mkdir(parents=True)
        arguments = [word.replace("OUT", str(folder / "out")) for word in commands[name]["words"]]
        found = {"command": name, "signal": number, **run(folder, number, moment, arguments)}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        return found

    for name, asked in commands.items():
        whole = hit(name, 0, 0)
        for number, times in asked["signals"].items():
            for moment in moments(whole, times):
                hit(name, int(number), moment)


if __name__ == "__main__":
    main()
