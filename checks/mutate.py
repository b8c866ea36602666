"""Mutation testing: one small change at a time in the numerics, and whether a test detects it.

Run: python -m checks.mutate [--share 0.25] [--only eliminate]

Every mutant is a fork of a process that has imported everything that its tests need except the project itself, so it
costs little more than the tests of its own module. Survivors are printed with their line: either a test is missing, or
the change does not affect results.
"""

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = {
    "information/copula.py": "tests/information/test_copula.py",
    "information/gaussian.py": "tests/information/test_gaussian.py",
    "information/neighbours.py": "tests/information/test_neighbours.py",
    "information/selection.py": "tests/information/test_selection.py",
    "ranking/eliminate.py": "tests/ranking/test_eliminate.py",
    "ranking/eliminate_jointly.py": "tests/ranking/test_eliminate_jointly.py",
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
SECONDS = 90
"""Time limit; a mutant that exceeds it counts as detected."""


def changes(node: ast.AST) -> Iterator[tuple[str, str, object]]:
    """Yield (description, field, new value) for every small change of a node."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OPERATORS:
        yield f"{type(node.op).__name__} -> {OPERATORS[type(node.op)].__name__}", "op", OPERATORS[type(node.op)]()
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        other = OPERATORS[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {other.__name__}", "ops", [other(), *node.ops[1:]]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield f"no {type(node.op).__name__}", "op", ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} -> {node.value + 1}", "value", node.value + 1
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield f"{node.value} -> {not node.value}", "value", not node.value
    elif isinstance(node, ast.IfExp | ast.If | ast.While):
        yield "condition -> not", "test", ast.UnaryOp(ast.Not(), node.test)


def in_code(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes that are executed, without annotations."""
    found: list[ast.AST] = []
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                found += [child, *in_code(child)]
    return found


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, description, source) for every change of a source."""
    tree = ast.parse(source)
    for index, node in enumerate(in_code(tree)):
        for description, field, new in changes(node):
            other = copy.deepcopy(tree)
            setattr(in_code(other)[index], field, new)
            text = ast.unparse(ast.fix_missing_locations(other))
            if text != ast.unparse(tree):
                yield getattr(node, "lineno", 0), description, text


def detected(tests: str, folder: Path, seen: Path | None = None) -> bool:
    """Return whether the tests fail in a fork, which can write the names of its imports from outside to a file."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0
    signal.alarm(SECONDS)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(folder)
    import pytest

    status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", tests]))
    if seen is not None:
        files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
        seen.write_text("\n".join(name for name, file in files.items() if not file.startswith(str(folder))))
    os._exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the mutants, sampled at random")
    parser.add_argument("--only", default="", help="only modules whose path contains this")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    chance = random.Random(options.seed)
    print("| module | mutants | detected |\n|---|---|---|")
    for module, tests in MODULES.items():
        if options.only not in module:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for name in ("src", "tests"):
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "pyproject.toml", folder)
            file = folder / "src" / "infoprune" / module
            source = file.read_text()
            if detected(tests, folder, folder / "seen"):
                raise SystemExit(f"{tests} fails without a mutant")
            for name in (folder / "seen").read_text().splitlines():
                with suppress(Exception):
                    importlib.import_module(name)
            chosen = [each for each in mutants(source) if chance.random() < options.share]
            survivors = []
            for line, description, text in chosen:
                file.write_text(text)
                if not detected(tests, folder):
                    survivors.append(f"  {module}:{line} {description}: {source.splitlines()[line - 1].strip()}")
            print(f"| {module} | {len(chosen)} | {len(chosen) - len(survivors)} |", flush=True)
            print("\n".join(survivors), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
