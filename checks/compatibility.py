"""Fast tests in environments with other versions: a Markdown table with a row for each.

Run: python -m checks.compatibility --base .venv --rows 4.56.2,4.57.6,5.0.0 [--folder /tmp/compatibility]

Each environment uses the packages of the base environment and puts another release of transformers, with its
requirements, in front of them. For another torch or Python pass --python /path/to/python --torch 2.6.0: such an
environment is new, and downloads torch and its requirements.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = """
import platform, torch, transformers
print(platform.python_version(), torch.__version__, transformers.__version__)
"""


def environment(folder: Path, options: argparse.Namespace, transformers: str) -> Path:
    """Return the interpreter of an environment, made where it is missing."""
    python = folder / "bin" / "python"
    if (folder / "done").is_file():
        return python
    subprocess.run([options.python, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "--quiet"]
    if options.torch:
        subprocess.run([*install, f"torch=={options.torch}"], check=True)
        subprocess.run([*install, f"transformers=={transformers}", f"{ROOT}[dev]"], check=True)
    else:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        below = (Path(options.base).resolve() / "lib" / version / "site-packages").as_posix()
        (folder / "lib" / version / "site-packages" / "base.pth").write_text(below + "\n")
        # The newest releases of these need a huggingface-hub that transformers 4 cannot use; pip resolves this by
        # itself only where it installs all of them.
        older = ["datasets<5", "sentence-transformers<6"] if transformers.startswith("4.") else []
        subprocess.run([*install, f"transformers=={transformers}", *older], check=True)
    (folder / "done").touch()
    return python


def tested(python: Path, paths: list[str]) -> tuple[str, str]:
    """Return the versions and the last line of pytest."""
    here = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    versions = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, env=here, check=True).stdout
    call = [python, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--tb=line", *paths]
    done = subprocess.run(call, capture_output=True, text=True, env=here, cwd=ROOT)
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(f"  {line}", file=sys.stderr)
    summary = re.sub(r" in [\d.]+s.*", "", done.stdout.strip().splitlines()[-1])
    return versions.strip(), summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=".venv")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--torch", default="")
    parser.add_argument("--rows", default="4.56.2,4.57.6,5.0.0")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--tests", default="tests")
    options = parser.parse_args()
    print("| Python | torch | transformers | fast tests |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for row in options.rows.split(","):
            python = environment(Path(options.folder or temporary) / f"{row}-{options.torch}", options, row)
            versions, summary = tested(python, options.tests.split())
            print(f"| {' | '.join(versions.split())} | {summary} |", flush=True)


if __name__ == "__main__":
    main()
