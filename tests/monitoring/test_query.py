import pytest

from monitoring.query import Part, series


def test_selectors_are_written_as_prometheus_reads_them() -> None:
    assert series("loss") == "commonfate_loss"
    assert series("loss", run="$run") == 'commonfate_loss{run="$run"}'
    assert (
        series("step_phase_seconds", "_sum", run="r", phase="data|forward")
        == 'commonfate_step_phase_seconds_sum{run="r", phase=~"data|forward"}'
    )


@pytest.mark.parametrize(
    ("name", "part", "labels", "message"),
    [
        ("los", "", {}, "commonfate_los is not in the catalogue"),
        ("loss", "_sum", {}, "a gauge has parts|a gauge has "),
        ("step_seconds", "", {}, "only parts"),
        ("loss", "", {"phase": "data"}, "phase='data' is not allowed"),
        ("step_phase_seconds", "_sum", {"phase": "data|foward"}, "is not allowed"),
    ],
)
def test_what_the_catalogue_does_not_have_cannot_be_asked_for(
    name: str, part: Part, labels: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        series(name, part, **labels)
