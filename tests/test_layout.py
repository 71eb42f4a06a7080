"""The shape of the code: no circle of imports, a loop that draws nothing, small files and functions."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cluster", "trainer", "data_shards", "model", "monitoring")
LONGEST_FILE, LONGEST_FUNCTION, IGNORES = 300, 60, 10
DRAWING = {"matplotlib", "PIL", "av"}  # heavy, and of use to those alone who look at pictures


@cache
def modules() -> dict[str, Path]:
    """All modules of the packages, by name."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return dict(zip((name.removesuffix(".__init__") for name in names), files, strict=True))


def imported(tree: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """What a module imports, `everywhere` or only when it is itself imported, as names of modules and in modules."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imported(node, everywhere=everywhere)


def names_in(module: str, *, everywhere: bool) -> set[str]:
    return set(imported(ast.parse(modules()[module].read_text()), everywhere=everywhere))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_in_a_circle(package: str) -> None:
    """Imports within functions and for the type checker count too: a circle that is put off is one."""
    inside = {name for name in modules() if name.split(".")[0] == package}
    graph = {name: (names_in(name, everywhere=True) & inside) - {name} for name in inside}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_the_loop_loads_nothing_that_draws() -> None:
    ahead, loaded = ["trainer.loop"], set[str]()
    while ahead:
        name = ahead.pop()
        if name in modules() and name not in loaded:
            loaded.add(name)
            parents = name.split(".")
            ahead += [".".join(parents[:count]) for count in range(1, len(parents))]
            ahead += names_in(name, everywhere=False)
    assert {"trainer.engine", "trainer.evaluation.scoring", "data_shards.loader"} <= loaded
    drawing = {
        name: DRAWING & {word.split(".")[0] for word in names_in(name, everywhere=False)} for name in loaded
    }
    assert {name: words for name, words in drawing.items() if words} == {}


def test_files_are_short() -> None:
    lengths = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_the_type_checker_is_seldom_told_to_look_away() -> None:
    found = {name: len(re.findall(r"# type: ignore", file.read_text())) for name, file in modules().items()}
    assert sum(found.values()) <= IGNORES, {name: count for name, count in found.items() if count}


def test_no_comment_stands_inside_a_line_that_was_broken() -> None:
    """A comment too long for its line makes the formatter break the code instead: it belongs above, or in a name."""
    broken = re.compile(r"^ *[])}]+[,:]*  # (?!fmt: )", re.MULTILINE)
    assert [name for name, file in modules().items() if broken.search(file.read_text())] == []
