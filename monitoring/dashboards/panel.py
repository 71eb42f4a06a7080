"""Panel: what one picture of a dashboard asks and how it shows it; panel_of(row): that of a series of the catalogue."""

from dataclasses import dataclass
from typing import Literal

from monitoring.catalogue import METRICS, Group, Metric
from monitoring.query import Part, series

# What Grafana puts there: the run that was chosen, the shortest window with a rate in it.
RUN, WINDOW = "$run", "$__rate_interval"

# Of these each rank has its own; of the others the ranks agree, or their mean tells.
_BY_RANK: tuple[Group, ...] = ("speed", "memory", "data")

# Grafana's names of units; a count has none.
_EACH_SECOND = "suffix: /s"
_UNITS = {
    "seconds": "s",
    "bytes": "bytes",
    "ratio": "percentunit",
    "pixels": "suffix: px",
    "per_second": _EACH_SECOND,
}
_RATES = {"seconds": "percentunit", "bytes": "Bps"}
_QUANTILES = (("median", "0.5"), ("p90", "0.9"), ("p99", "0.99"))


@dataclass(frozen=True)
class Query:
    """One expression, and the name of each series that comes of it: `{{label}}` stands for the label's value."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One picture. `look`: lines over time, shares that fill 100 %, the newest value as a number, names of states."""

    title: str
    help: str
    queries: tuple[Query, ...]
    unit: str = "short"
    look: Literal["lines", "shares", "number", "names"] = "lines"
    width: int = 8  # of 24 columns
    height: int = 7


def of_run(name: str, part: Part = "", **labels: str) -> str:
    """A selector of the catalogue's series `commonfate_<name>`, of the run that was chosen."""
    return series(name, part, run=RUN, **labels)


def growth(name: str, part: Part = "", **labels: str) -> str:
    """How fast a counter, or a part of a histogram, grows: per second, of the run that was chosen."""
    return f"rate({of_run(name, part, **labels)}[{WINDOW}])"


def panel_of(row: Metric, width: int = 8) -> Panel:
    """A series as it stands: gauges as lines, counters as rates, histograms as quantiles."""
    name = row.name.removeprefix("commonfate_")
    if row.kind == "histogram":
        among = over("sum", ("le", *row.labels), growth(name, "_bucket"))
        labels = "".join(f"{{{{{label}}}}} " for label in row.labels)
        queries = tuple(
            Query(f"histogram_quantile({share}, {among})", f"{labels}{text}") for text, share in _QUANTILES
        )
        return Panel(title_of(row), row.help, queries, _UNITS.get(row.unit, "short"), width=width)
    by = (*row.labels, "rank") if row.group in _BY_RANK and row.ranks == "every" else tuple(row.labels)
    legend = " ".join("rank {{rank}}" if label == "rank" else f"{{{{{label}}}}}" for label in by)
    if row.kind == "counter":
        query = Query(over("sum", by, growth(name)), legend or "all ranks")
        return Panel(title_of(row), row.help, (query,), _RATES.get(row.unit, _EACH_SECOND), width=width)
    query = Query(over("avg", by, of_run(name)), legend or "mean of ranks")
    return Panel(title_of(row), row.help, (query,), _UNITS.get(row.unit, "short"), width=width)


def title_of(row: Metric) -> str:
    """Its name in words; without the unit where the axis says it."""
    stem = row.name.removeprefix("commonfate_").removesuffix("_total")
    if row.unit in ("seconds", "ratio", "pixels"):
        stem = stem.removesuffix(f"_{row.unit}")
    words = f"{stem.replace('_', ' ')} time" if row.kind == "histogram" else stem.replace("_", " ")
    return words[0].upper() + words[1:]


def named(*names: str, width: int = 8) -> tuple[Panel, ...]:
    """The panels of some of the catalogue's series, `commonfate_<name>`."""
    return tuple(panel_of(METRICS[f"commonfate_{name}"], width) for name in names)


def over(how: str, by: tuple[str, ...], expression: str) -> str:
    """An aggregation that keeps the labels `by`."""
    return f"{how} by ({', '.join(by)}) ({expression})" if by else f"{how}({expression})"
