"""python -m data_shards build SOURCE --out URL ...: a data set, complete in the end or absent.

`build SOURCE --help` lists the options of a source. An interrupted build can be started again: it uploads what is
missing.
"""

import sys
import time
import types
from argparse import Action, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from inspect import getdoc
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from data_shards.commands import given_place
from data_shards.field_docs import field_docs
from data_shards.manifest import Manifest
from data_shards.mistake import UserError
from data_shards.sources import SOURCES
from data_shards.sources.inventory import told
from data_shards.writer import SHARD_BYTES, build

INTERVAL = 5.0  # seconds between two lines of progress
COUNTS = {"train": 20000, "val": 2000, "test": 2000}


def options(parser: ArgumentParser) -> None:
    """The sources, each with its own options: the fields of its dataclass."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE", title="sources")
    for name, source in SOURCES.items():
        purpose, _, more = (getdoc(source) or name).partition("\n\n")
        chosen = sources.add_parser(
            name,
            help=purpose.partition("\n")[0],
            description=purpose,
            epilog=more.replace("%", "%%"),
            exit_on_error=False,
        )
        _add_common(chosen)
        hints, docs = get_type_hints(source), field_docs(source)
        for field in fields(source):
            _add_option(chosen, field, hints[field.name], docs.get(field.name, ""))


def run(given: Namespace) -> int:
    """Build, and tell what there is."""
    source, values = SOURCES[given.source], vars(given)
    counts = {split: values[split] for split in COUNTS}
    if min(counts.values()) < 0:
        raise UserError(f"counts {counts} must be at least 0")
    names = [field.name for field in fields(source)]
    made = source(**{name: values[name] for name in names})
    started = time.monotonic()
    progress = _Progress(counts)
    manifest = build(given.source, made, given.out, counts, given.seed, given.shard_bytes, progress)
    seconds = time.monotonic() - started
    _tell(manifest, counts, getattr(made, "left_out", lambda split: ""))
    total = sum(map(manifest.samples, manifest.splits))
    print(f"{given.out}: complete, {total} clips in {seconds:.1f} s ({total / seconds:.0f} per second)")
    return 0


def _tell(manifest: Manifest, counts: Mapping[str, int], left_out: Callable[[str], str]) -> None:
    """What was written, by split; where there was less than asked for, and why; and the source's statistics."""
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
            why = left_out(split)
            print(
                f"{split}: {found or 'no'} clips, of up to {count} asked for: the source had no more for it"
                + (f" ({why})" if why else "")
            )
    for fact, value in manifest.statistics.items():
        if fact == "inputs_left_out":
            print(*told(value), sep="\n", end="\n" if value else "")
        elif fact == "described":  # in the manifest, long
            print(f"described by their tars, in the manifest: {len(value)}")
        else:
            print(f"{fact}: {value}")


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


def _add_common(parser: ArgumentParser) -> None:
    """The options that every source has."""
    parser.add_argument(
        "--out",
        required=True,
        type=given_place,
        metavar="URL",
        help="Where the set goes: a folder or s3://bucket/prefix without a set",
    )
    for split, count in COUNTS.items():
        parser.add_argument(
            f"--{split}",
            type=int,
            default=count,
            metavar="N",
            help=f"Clips of the split {split}, at most, 0 for none; %(default)s by default",
        )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="Of all that is drawn at random, 0 or more; %(default)s by default",
    )
    parser.add_argument(
        "--shard-bytes",
        type=int,
        default=SHARD_BYTES,
        metavar="N",
        help="Size from which on a shard is full, bytes; %(default)s by default",
    )


def _add_option(parser: ArgumentParser, field: "Field[Any]", hint: Any, doc: str) -> None:
    """The option of a field, which says what the field says of itself."""
    flag = "--" + field.name.replace("_", "-")
    options: dict[str, Any] = {"help": doc.removesuffix(".").replace("%", "%%")}
    if field.default is MISSING and field.default_factory is MISSING:
        options["required"] = True
    else:
        made = field.default if field.default_factory is MISSING else field.default_factory()
        options["default"] = made
        if made is not None:  # else its text says what happens without
            options["help"] += f"; {_word(field.name, made)} by default"
    if get_origin(hint) in (Union, types.UnionType):  # X | None: absent is None
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if hint is bool:
        parser.add_argument(flag, action=BooleanOptionalAction, **options)
    elif get_origin(hint) is Literal:
        parser.add_argument(flag, choices=get_args(hint), type=type(get_args(hint)[0]), **options)
    elif get_origin(hint) is tuple:
        item = get_args(hint)[0]
        parser.add_argument(
            flag, type=item, nargs="+", action=_Tuple, metavar=item.__name__.upper(), **options
        )
    else:
        parser.add_argument(flag, type=hint, metavar=hint.__name__.upper(), **options)


def _word(name: str, default: Any) -> str:
    """A default as it would be typed."""
    if isinstance(default, bool):
        return f"--{'' if default else 'no-'}{name.replace('_', '-')}"
    return " ".join(map(str, default)) or "none" if isinstance(default, tuple) else str(default)


class _Tuple(Action):
    """Values as a tuple, as the fields of a source are."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, tuple(values))
