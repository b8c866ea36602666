"""The fast tests in environments with other versions: a row for each, as a table in Markdown.

Run: python -m benchmarks.compatibility --base .venv --rows 4.56.2,4.57.6,5.0.0 [--folder /tmp/compatibility]

Each environment takes the packages of the base one and puts another transformers, with what that one needs, in front of
them. Another torch or Python is asked for as --python /path/to/python --torch 2.6.0: such an environment is made anew,
and downloads what its torch needs.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SAID = """
import platform, torch, transformers
print(platform.python_version(), torch.__version__, transformers.__version__)
"""


def environment(folder: Path, asked: argparse.Namespace, transformers: str) -> Path:
    """Its python."""
    python = folder / "bin" / "python"
    if (folder / "done").is_file():
        return python
    subprocess.run([asked.python, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "--quiet"]
    if asked.torch:
        subprocess.run([*install, f"torch=={asked.torch}"], check=True)
        subprocess.run([*install, f"transformers=={transformers}", f"{ROOT}[dev]"], check=True)
    else:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        below = (Path(asked.base).resolve() / "lib" / version / "site-packages").as_posix()
        (folder / "lib" / version / "site-packages" / "base.pth").write_text(below + "\n")
        # The newest datasets wants a huggingface-hub that transformers 4 cannot use; pip finds this out by itself only
        # where both are to be installed.
        older = ["datasets<5"] if transformers.startswith("4.") else []
        subprocess.run([*install, f"transformers=={transformers}", *older], check=True)
    (folder / "done").touch()
    return python


def tested(python: Path, paths: list[str]) -> tuple[str, str]:
    """Versions, and what pytest says in its last line."""
    here = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    versions = subprocess.run([python, "-c", SAID], capture_output=True, text=True, env=here, check=True).stdout
    call = [python, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--tb=line", *paths]
    done = subprocess.run(call, capture_output=True, text=True, env=here, cwd=ROOT)
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(f"  {line}", file=sys.stderr)
    said = re.sub(r" in [\d.]+s.*", "", done.stdout.strip().splitlines()[-1])
    return versions.strip(), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=".venv")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--torch", default="")
    parser.add_argument("--rows", default="4.56.2,4.57.6,5.0.0")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--tests", default="tests")
    asked = parser.parse_args()
    print("| Python | torch | transformers | fast tests |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for row in asked.rows.split(","):
            python = environment(Path(asked.folder or temporary) / f"{row}-{asked.torch}", asked, row)
            versions, said = tested(python, asked.tests.split())
            print(f"| {' | '.join(versions.split())} | {said} |", flush=True)


if __name__ == "__main__":
    main()
