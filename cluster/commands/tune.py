"""python -m cluster tune RECIPE [field.path=value ...] --space FIELD=EXPR --metric SPLIT/NAME: search for good values.

EXPR is one of loguniform(1e-5,1e-2), uniform(0,0.5), quniform(16,64,8), randint(1,9), choice(adam,rmsprop), in quotes
for the shell. Each trial is a run of its own below the sweep's output. The same command goes on with a sweep that was
stopped or killed. At its end it writes report.html and best.json, which `train --config` takes (docs/tuning.md).
"""

from argparse import ArgumentParser, Namespace

from cluster.config import ClusterConfig
from cluster.machines import connected, cores, discovery, given_address
from cluster.ray_settings import SWEEP, set_defaults
from cluster.stop import interruptible
from cluster.tune.plan import (
    SCHEDULES,
    SEARCHES,
    Plan,
    require_metric,
    require_space,
    require_together,
    shared,
)
from cluster.tune.record import owned
from cluster.tune.space import parse_space
from data_shards.exits import Refused, say
from trainer.arguments import add_count, require_positive
from trainer.overrides import add_arguments, from_arguments

STOPPED = "stopped: what was decided is on record, and the same command goes on with the sweep"


def options(parser: ArgumentParser) -> None:
    """What is trained, what is searched and how."""
    add_arguments(parser)
    parser.add_argument(
        "--space",
        metavar="FIELD=EXPR",
        action="append",
        default=[],
        help="a field that is searched and its values, such as 'optim.lr=loguniform(1e-5,1e-2)'; once for each field, "
        "none by default",
    )
    parser.add_argument(
        "--metric", metavar="SPLIT/NAME", required=True, help="score to search by, such as val/fg_ari_video"
    )
    parser.add_argument(
        "--mode", choices=("max", "min"), help="which way the score is better; by default as it is defined"
    )
    add_count(parser, "--trials", 8, "runs, each with values of its own")
    add_count(parser, "--max-concurrent", 2, "trials at a time; each takes scaling.* of the cluster")
    parser.add_argument(
        "--search", choices=SEARCHES, default="random", help="where values come from; %(default)s by default"
    )
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="none",
        help="asha stops trials that are behind, pbt lets them go on from better ones; %(default)s by default",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the search; %(default)s by default"
    )
    parser.add_argument(
        "--grace",
        type=int,
        metavar="STEPS",
        help="optimiser steps to asha's first decision, or between two of pbt; evaluation.steps by default",
    )
    parser.add_argument(
        "--reduction",
        type=float,
        default=4,
        metavar="N",
        help="asha: about one trial in so many goes on at each decision; %(default)s by default",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a Ray cluster, or auto; RAY_ADDRESS by default, or else an embedded Ray",
    )


def run(given: Namespace) -> int:
    """Search; 1 if no trial came to a score."""
    plan = plan_of(given)
    set_defaults(*SWEEP)
    with interruptible(), discovery(plan.config) as targets:
        if given_address(plan.config) is None:
            plan.config.require_set()
        with owned(plan), connected(plan.config, at_once=plan.at_once) as embedded:
            if not embedded:
                plan.config.require_set()
            from cluster.tune.sweep import run_sweep  # after Ray's settings, which `import ray` reads

            try:
                entrants = run_sweep(plan, embedded=embedded, targets=targets, say=say)
            except KeyboardInterrupt:
                say(STOPPED)
                raise
        from cluster.tune.result import write_result  # draws, of which a sweep that is refused has no need

        print(write_result(plan, entrants))
    if all(entrant.score is None for entrant in entrants):
        raise Refused(f"none of {plan.trials} trials came to a score: {entrants[0].why}")
    return 0


def plan_of(given: Namespace) -> Plan:
    """What the words say.

    Raises:
        UserError: the config does not take them, or they do not go together.
    """
    require_positive(given, "trials", "max_concurrent")
    more = [f"ray.address={given.address}"] if given.address else []
    config = from_arguments(given, ClusterConfig, more)
    config.check()
    space = parse_space(given.space)
    require_space(space, lambda word: from_arguments(given, ClusterConfig, [*more, word]))
    metric, mode = require_metric(given.metric, given.mode, config)
    at_once = min(given.max_concurrent, given.trials)
    here = given_address(config) is None
    cpus = max(cores() // (config.scaling.most * at_once), 1) if here else None
    plan = Plan(
        asked=config,
        config=shared(config, at_once, given.schedule, cpus),
        space=space,
        words=tuple(given.space),
        metric=metric,
        mode=mode,
        trials=given.trials,
        at_once=at_once,
        search=given.search,
        schedule=given.schedule,
        seed=given.seed,
        grace=given.grace or config.evaluation.steps,
        reduction=given.reduction,
    )
    require_together(plan)
    return plan
