"""The table of commands: what is listed, what runs, and what is told of a name that is not there."""

import sys
from argparse import ArgumentParser, Namespace
from types import ModuleType

import pytest

from data_shards.commands import Command, run_command

COMMANDS = {
    "weigh": Command("Weigh it.", "made.weigh"),
    "bench": Command("Measure it.", "made.bench"),
    "bench fine": Command("Measure it finely.", "made.fine"),
}


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three commands that say their name and what they were given."""

    def options(parser: ArgumentParser) -> None:
        parser.add_argument("things", nargs="*", help="what to treat")
        parser.add_argument("--twice", action="store_true", help="once more; not by default")

    for name in ("weigh", "bench", "fine"):
        module = ModuleType(f"made.{name}", f"Of {name}.\n\nMore on {name}.\n")

        def run(given: Namespace, name: str = name) -> int:
            print(name, given.things, given.twice)
            return len(given.things)

        module.options, module.run = options, run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"made.{name}", module)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["weigh", "a", "--twice", "b"], "weigh ['a', 'b'] True\n", 2),
        (["bench"], "bench [] False\n", 0),
        (["bench", "coarse"], "bench ['coarse'] False\n", 1),
        (["bench", "fine", "fine"], "fine ['fine'] False\n", 1),
    ],
)
def test_the_longest_name_runs(
    words: list[str], said: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("prog", COMMANDS, words) == code
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_the_overview_has_a_line_for_each_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("prog", COMMANDS, words) == (0 if words else 2)
    out, err = capsys.readouterr()
    assert ((out if words else err).splitlines()[2:5], (err if words else out)) == (
        ["  weigh       Weigh it.", "  bench       Measure it.", "  bench fine  Measure it finely."],
        "",
    )


def test_a_groups_overview_is_of_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    group = {f"group {name}": command for name, command in COMMANDS.items()}
    assert run_command("prog", group | COMMANDS, ["group", "--help"]) == 0
    assert [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()[2:5]] == list(group)


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"^command weight all does not exist; have: weigh, bench, bench fine$"
    ):
        run_command("prog", COMMANDS, ["weight", "all", "--twice"])


def test_help_begins_with_the_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_command("prog", COMMANDS, ["bench", "fine", "--help"])
    assert end.value.code == 0
    paragraphs = capsys.readouterr().out.split("\n\n")
    assert paragraphs[0].startswith("usage: prog bench fine ")
    assert paragraphs[1] == "Measure it finely."
    assert paragraphs[-1] == "More on fine.\n"
