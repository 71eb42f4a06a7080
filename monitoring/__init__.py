"""What a run tells Prometheus: the catalogue of metrics, the exporter of each rank, discovery, run states."""

from monitoring.catalogue import METRICS, Metric
from monitoring.exporter import Exporter
from monitoring.run_state import RunState, Timeline

__all__ = ["METRICS", "Exporter", "Metric", "RunState", "Timeline"]
