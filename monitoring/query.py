"""PromQL over the catalogue: a series, a label or a value that is in no table cannot be asked for."""

from typing import Literal

from monitoring.catalogue import BASE_LABELS, METRICS, OPEN

Part = Literal["", "_bucket", "_count", "_sum"]


def series(name: str, part: Part = "", **labels: str) -> str:
    """A selector: `commonfate_<name>`, a part of a histogram, labels that are a value or `one|another`.

    Raises:
        ValueError: what is asked for is not in the catalogue.
    """
    row = METRICS.get(f"commonfate_{name}")
    if row is None:
        raise ValueError(f"series commonfate_{name} is not in the catalogue")
    if (row.kind == "histogram") != bool(part):
        raise ValueError(f"series {row.name}: a {row.kind} has {'' if part else 'only '}parts")
    for label, value in labels.items():
        allowed = OPEN if label in BASE_LABELS else row.labels.get(label)
        strange = set() if allowed == OPEN else set(value.split("|")) - set(allowed or ())
        if allowed is None or strange:
            raise ValueError(f"series {row.name}: {label}={value!r} is not allowed")
    matchers = (f'{label}{"=~" if "|" in value else "="}"{value}"' for label, value in labels.items())
    return f"{row.name}{part}{{{', '.join(matchers)}}}" if labels else row.name + part
