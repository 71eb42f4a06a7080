"""Plan: what a run needs of its machines, in plain values, so that whoever checks it has no model to import."""

from dataclasses import dataclass, field

PROBE_S = 5.0  # for which a store that is out is asked here; the run itself has more patience


@dataclass(frozen=True)
class Plan:
    """Of a run or a chain of runs.

    Attributes:
        sets: the splits needed of each data set, by its URL.
        output: URL of the run.
        state_bytes: of weights, optimiser and what a checkpoint has of them, at most.
        workers: the least number that the run trains with.
        worker: what Ray sets aside for one, by name.
        placement: of Ray: PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
        start_s: seconds for all workers to be there.
        save_s: seconds for a checkpoint to reach storage.
        data_s: seconds for which a store that does not answer is asked for clips.
        metrics_host: address that each worker is to listen at; "" = nothing is served.
    """

    sets: dict[str, tuple[str, ...]]
    output: str
    state_bytes: int
    workers: int
    worker: dict[str, float]
    placement: str
    start_s: float
    save_s: float
    data_s: float
    metrics_host: str


@dataclass(frozen=True)
class Code:
    """What a machine would run: a hash of our sources, and the versions of Python and of what they stand on."""

    sources: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Ask:
    """What a node is asked to compare itself with.

    Attributes:
        plan: the run.
        code: the driver's.
        manifests: hash of each data set's manifest as the driver reads it, by URL.
        probe: name of an object that the driver has put into the output; "" = it could not.
        token: the name of this survey.
        peers: where the posts of all nodes listen, by the node's name.
        hosts: number of different machines among them.
        gpus: that Ray believes to be here.
        sent: seconds since the epoch, by the driver's clock.
    """

    plan: Plan
    code: Code
    manifests: dict[str, str] = field(default_factory=dict)
    probe: str = ""
    token: str = ""
    peers: dict[str, tuple[str, int]] = field(default_factory=dict)
    hosts: int = 1
    gpus: int = 0
    sent: float = 0.0
