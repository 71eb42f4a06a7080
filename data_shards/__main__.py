"""python -m data_shards build SOURCE --out URL | check URL | show URL."""

import argparse
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from data_shards.sources import SOURCES
from data_shards.storage.store import StorageError

INTERVAL = 5.0  # seconds between two lines of progress
COUNTS = {"train": 20000, "val": 2000, "test": 2000}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 2 the user's mistake (one sentence on stderr), 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = COMMANDS.get(argv[0]) if argv else None
    if command is None:
        usage = "usage: python -m data_shards build SOURCE --out URL ... | check URL | show URL"
        print(usage, file=sys.stderr)
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    try:
        return command(argv[1:])
    except (ValueError, StorageError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _build(argv: list[str]) -> int:
    from data_shards.writer import SHARD_BYTES, build

    parser = argparse.ArgumentParser(prog="python -m data_shards build", description="Write a data set.")
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for name, source in SOURCES.items():
        summary = (source.__doc__ or name).strip().splitlines()[0]
        options = sources.add_parser(
            name,
            help=summary,
            description=summary,
        )
        options.add_argument(
            "--out", required=True, metavar="URL", help="folder or s3://bucket/prefix, without a set"
        )
        for split, count in COUNTS.items():
            options.add_argument(
                f"--{split}",
                type=int,
                default=count,
                metavar="N",
                help="at most; %(default)s by default",
            )
        options.add_argument("--seed", type=int, default=0)
        options.add_argument("--shard-bytes", type=int, default=SHARD_BYTES, metavar="N")
        hints = get_type_hints(source)
        for parameter in fields(source):  # type: ignore[arg-type]  # sources are dataclasses
            _add_option(options, parameter, hints[parameter.name])
    given = vars(parser.parse_args(argv))
    source = SOURCES[given["source"]]
    counts = {split: given[split] for split in COUNTS}
    if min(counts.values()) < 0:
        raise ValueError(f"counts {counts} must be at least 0")
    names = [parameter.name for parameter in fields(source)]  # type: ignore[arg-type]
    made = source(**{name: given[name] for name in names if name in given})
    started = time.monotonic()
    manifest = build(
        given["source"], made, given["out"], counts, given["seed"], given["shard_bytes"], _Progress(counts)
    )
    seconds = time.monotonic() - started
    t, h, w, c = manifest.shape
    for split, shards in manifest.splits.items():
        size, samples = manifest.size(split), manifest.samples(split)
        print(
            f"{split}: {samples} clips of {t} frames {h}x{w}x{c} in {len(shards)} shards, {size / 1e6:.1f} MB "
            f"({t * h * w * c * samples / size:.1f} times smaller than the frames)"
        )
    for split, count in counts.items():
        found = manifest.samples(split) if split in manifest.splits else 0
        if found < count:
            print(
                f"{split}: {found or 'no'} clips, of up to {count} asked for: the source had no more for it"
            )
    for fact, value in manifest.statistics.items():
        print(f"{fact}: {value}")
    total = sum(map(manifest.samples, manifest.splits))
    print(f"{given['out']}: complete, {total} clips in {seconds:.1f} s ({total / seconds:.0f} per second)")
    return 0


class _Progress:
    """Prints a line now and then."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts, self._told = counts, time.monotonic()

    def __call__(self, split: str, clips: int, size: int) -> None:
        if time.monotonic() - self._told > INTERVAL:
            self._told = time.monotonic()
            print(
                f"{split}: {clips} of {self._counts[split]} clips, {size / 1e6:.1f} MB",
                file=sys.stderr,
                flush=True,
            )


def _add_option(parser: argparse.ArgumentParser, parameter: "Field[Any]", hint: Any) -> None:
    """The option of one field of a source's dataclass."""
    flag = "--" + parameter.name.replace("_", "-")
    options: dict[str, Any] = {"help": "%(default)s by default"}
    if parameter.default is not MISSING:
        options["default"] = parameter.default
    elif parameter.default_factory is not MISSING:
        options["default"] = parameter.default_factory()
    else:
        options |= {"required": True, "help": "required"}
    if get_origin(hint) in (Union, types.UnionType):  # X | None: absent is None
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if hint is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif get_origin(hint) is Literal:
        parser.add_argument(flag, choices=get_args(hint), type=type(get_args(hint)[0]), **options)
    elif get_origin(hint) is tuple:
        item = get_args(hint)[0]
        parser.add_argument(
            flag, type=item, nargs="+", action=_Tuple, metavar=item.__name__.upper(), **options
        )
    else:
        parser.add_argument(flag, type=hint, metavar=hint.__name__.upper(), **options)


class _Tuple(argparse.Action):
    """Values as a tuple, as the fields of a source are."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _check(argv: list[str]) -> int:
    from data_shards import check

    return check.main(argv)


def _show(argv: list[str]) -> int:
    from data_shards import show

    code: int = show.main(argv)
    return code


COMMANDS: dict[str, Callable[[list[str]], int]] = {"build": _build, "check": _check, "show": _show}

if __name__ == "__main__":
    sys.exit(main())
