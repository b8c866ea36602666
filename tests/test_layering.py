"""What may import what, and what the sources must not contain."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import infoprune

PACKAGE = Path(infoprune.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
# information theory: torch and nothing else
NUMERICS = (
    "statistics.moments",
    "statistics.fisher",
    "statistics.precision",
    "statistics.huber",
    "statistics.products",
    "statistics.random_numbers",
    "ranking.eliminate",
    "repairing.ridge",
    "budgets.lagrange",
    "vocabulary.remapping",
)
ESTIMATORS = sorted((PACKAGE / "information").glob("*.py"))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """Full names of the modules that a file imports."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield node.module


def top(name):
    return name.partition(".")[0]


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", NUMERICS)
def test_numerics_import_torch_alone(module):
    for name in imports(PACKAGE / f"{module.replace('.', '/')}.py"):
        allowed = top(name) in {"torch", "jaxtyping"} | set(sys.stdlib_module_names)
        assert allowed or name in {f"infoprune.{other}" for other in NUMERICS}, name


@pytest.mark.parametrize("path", ESTIMATORS, ids=name_of)
def test_estimators_import_torch_and_the_error_alone(path):
    for name in imports(path):
        allowed = top(name) in {"torch", "jaxtyping"} | set(sys.stdlib_module_names)
        assert allowed or name == "infoprune.errors" or name.startswith("infoprune.information."), name


def test_tokenizers_are_rewritten_as_dictionaries():
    for name in imports(PACKAGE / "vocabulary" / "tokenizer_json.py"):
        assert top(name) in sys.stdlib_module_names or name == "infoprune.errors", name


def test_estimators_are_for_use_alone():
    said = "import infoprune.information, sys; print({'transformers', 'sklearn', 'scipy'} & {*sys.modules})"
    here = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    printed = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, env=here).stdout
    assert printed == "set()\n"


@pytest.mark.parametrize("path", sorted((PACKAGE / "families").glob("*.py")), ids=name_of)
def test_families_are_tables_of_strings(path):
    assert all(name == "dataclasses" or name.startswith("infoprune.families.") for name in imports(path))


def test_folders_form_layers():
    """Between folders imports go one way: a file of the root counts as a folder of its own."""

    def folder(name):
        return name.split(".")[1]

    below = {}
    for path in SOURCES:
        own = folder("infoprune." + name_of(path).replace("/", ".").removesuffix(".py"))
        seen = {folder(name) for name in imports(path) if name.startswith("infoprune.")}
        below.setdefault(own, set()).update(seen - {own})
    del below["__init__"]
    assert len(tuple(TopologicalSorter(below).static_order())) == len(below)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_library_does_not_import_the_command_line(path):
    if path.is_relative_to(PACKAGE / "cli") or path == PACKAGE / "__main__.py":
        return
    assert not any(name.startswith("infoprune.cli") or top(name) == "typer" for name in imports(path))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_unsafe_and_no_print(path):
    assert not {"pickle", "dill", "joblib", "marshal", "shelve"} & {top(name) for name in imports(path)}
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in {"print", "eval", "exec", "torch.load", "torch.save"}, f"{called} in line {node.lineno}"
        for keyword in node.keywords:
            value = ast.unparse(keyword.value)
            assert (keyword.arg, value) not in {("trust_remote_code", "True"), ("weights_only", "False")}
            assert (keyword.arg, value) != ("shell", "True")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_errors_are_raised_not_asserted(path):
    assert not [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]


def test_nouns_are_frozen():
    """All but what adds up, goes on, or is filled in."""
    growing = {"Moments", "Sums", "Tally", "Rounds", "LayerRun", "_Nearness", "_Dense"}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and node.name not in growing:
                assert "dataclass" not in map(ast.unparse, node.decorator_list), f"{node.name} in {path.name}"
