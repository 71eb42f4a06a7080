"""python -m monitoring render DIR: a Prometheus and a Grafana for runs, as files that are ready to start.

Dashboards, their provisioning, Prometheus' settings with the discovery of ranks, and a compose file. docs/metrics.md
says how runs are found.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from urllib.parse import urlsplit

from monitoring.installation import FILES, TARGETS, Installation


def options(parser: ArgumentParser) -> None:
    """Where to, and where ranks are found."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder to write the files to")
    parser.add_argument(
        "--targets",
        metavar="PLACE",
        type=_place,
        action="append",
        default=[],
        help=f"where ranks are found, beside DIR/{TARGETS}: a folder of target files, or the URL of a driver's; may be "
        "given again (default: none)",
    )
    parser.add_argument(
        "--ray",
        metavar="DIR",
        type=_place,
        help="folder of Ray's sessions, mostly /tmp/ray, to show its own metrics and dashboards too (default: none)",
    )
    parser.add_argument(
        "--scrape",
        metavar="SECONDS",
        type=_seconds,
        default=5,
        help="from one look at a rank to the next (default: %(default)s)",
    )


def run(given: Namespace) -> int:
    """Write the files, and say which. All are made before the first is written, and none is ever there in part."""
    urls = tuple(place for place in given.targets if "://" in place)
    folders = tuple(_absolute(place) for place in given.targets if "://" not in place)
    installation = Installation(folders, urls, given.scrape, _absolute(given.ray) if given.ray else "")
    texts = {name: made(installation) for name, made in FILES.items()}
    (given.folder / TARGETS).mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        file = given.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f".{file.name}.unfinished")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)
        print(file)
    return 0


def _absolute(place: str) -> str:
    return str(Path(place).expanduser().absolute())


def _place(word: str) -> str:
    parts = urlsplit(word)
    if not word or ("://" in word and (parts.scheme not in ("http", "https") or not parts.netloc)):
        raise ArgumentTypeError(f"got {word!r}, needs a folder or http://HOST:PORT/targets")
    if "*" in word:
        raise ArgumentTypeError(f"got {word!r}; Prometheus takes no pattern of folders: let runs share one")
    return word


def _seconds(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 300:
        raise ArgumentTypeError(f"got {word!r}, needs 1 to 300 whole seconds")
    return int(word)
