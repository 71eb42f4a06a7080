"""Documents that must agree with the code: version and changes, links, hooks."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_the_newest_change_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert heading[1] == version


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """`trainer/loop.py` and the like; what is still to be written has a placeholder in capitals."""
    named = re.findall(
        r"`((?:trainer|model|data_shards|cluster|monitoring|tests|docs)/[\w/.]*)`", page.read_text()
    )
    missing = [name for name in named if not re.search(r"[A-Z]{3}", name) and not (ROOT / name).exists()]
    assert not missing


def test_the_hooks_are_the_tools_of_make_check() -> None:
    check = (ROOT / "Makefile").read_text().split("\ncheck:")[1].split("\n\n")[0]
    tools = re.findall(r"\.venv/bin/([\w-]+(?: format| check)?)", check)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert tools
    for tool in tools:
        assert f"entry: .venv/bin/{tool}" in hooks
