"""Build the wheel, install it without extras into an empty environment, and prune a tiny model with it.

Run: python -m checks.wheel [--torch torch==2.13.0]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL = """
import sys
sys.path.insert(0, "tests")
from tiny_bert import build_tiny_bert, build_tokenizer
for each in (build_tiny_bert(), build_tokenizer()):
    each.save_pretrained(sys.argv[1])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--torch", default="torch==2.13.0", help="torch to install first, so that it can be a small build"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("tools", "empty"):
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        tools = folder / "tools" / "bin" / "python"
        pip = [folder / "empty" / "bin" / "python", "-m", "pip", "-q"]
        subprocess.run([tools, "-m", "pip", "-q", "install", "build"], check=True)
        subprocess.run([tools, "-m", "build", "--wheel", "--outdir", folder / "dist", ROOT], check=True)
        (wheel,) = (folder / "dist").glob("*.whl")
        subprocess.run([*pip, "install", options.torch], check=True)
        subprocess.run([*pip, "install", wheel], check=True)
        subprocess.run([sys.executable, "-c", MODEL, folder / "model"], check=True, cwd=ROOT)
        rows = (f"the film is {word},{index % 2}" for index, word in enumerate(["good", "bad", "great", "poor"] * 10))
        (folder / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        program = folder / "empty" / "bin" / "infoprune"
        here = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        call = [program, "prune", "model", "half", "--data", "texts.csv", "--eval", "texts.csv"]
        subprocess.run(call, check=True, cwd=folder, env=here)
        written = ", ".join(sorted(path.name for path in (folder / "half").iterdir()))
        print(f"{wheel.name}, {wheel.stat().st_size:,} bytes: {written}")


if __name__ == "__main__":
    main()
