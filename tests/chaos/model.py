"""What must hold when a history is over.

The model: every deployment that Heat still wants was run and finished exactly once, whatever stands
beside it; Heat got exactly one signal for it, with its own outputs, by its own transport; nothing
superseded started after its successor; no two hooks ran at once; no program ended with a traceback,
hung, showed a secret, or left something on disk without fsync.
Invariant: each breach is one line that begins with its kind.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.chaos.guest import MAX_ATTEMPTS
from tests.chaos.hostile import SIGNATURE
from tests.chaos.life import REBOOTING, Life

Heat = dict[str, Any]


def breaches(life: Life, heat: Heat) -> list[str]:
    """Return what did not hold.

    :param heat: what `PlayedHeat.end` returned.
    """
    return [
        *life.guest.troubles,
        *heat["troubles"],
        *(f"lost: Heat waits for {config}" for config in heat["lost"]),
        *_wrong_runs(life, heat["configs"]),
        *_wrong_signals(heat),
        *_unfinished(life, heat),
        *_wrong_outputs(life),
    ]


def count(life: Life, heat: Heat) -> None:
    """Add what happened to the history's counts."""
    events = life.result.events
    events["deployments"] += sum(map(len, heat["configs"].values()))
    events["hooks run"] += sum(what == "start" for what, _, _ in life.guest.runs())
    events["Heat asked"] += heat["asked"]
    for signal in heat["signals"]:
        events[f"signal by {signal['way']}"] += 1


def _wrong_runs(life: Life, configs: dict[str, list[str]]) -> Iterator[str]:
    for what, config, pid in life.guest.runs():
        if what == "beside":
            yield f"two hooks: {config} began while process {pid} ran"
    starts = [config for what, config, _ in life.guest.runs() if what == "start"]
    for name, generations in configs.items():
        numbers = [generations.index(config) for config in starts if config in generations]
        for before, after in pairwise(numbers):
            if after < before:
                yield f"stale: {name} ran {generations[after]} after {generations[before]}"
    for config, number in Counter(starts).items():
        if number > MAX_ATTEMPTS + config.startswith(REBOOTING) + life.reruns[config]:
            yield f"double: {config} was started {number} times"


def _wrong_signals(heat: Heat) -> Iterator[str]:
    signals = Counter(signal["config"] for signal in heat["signals"])
    for config, (_, wanted) in heat["wanted"].items():
        if wanted is not None and signals[config] > wanted:
            yield f"double: {config} has {signals[config]} signals"
    for signal in heat["signals"]:
        body = signal["body"]
        if not isinstance(body, dict):
            yield f"lost: the signal of {signal['config']} is no map"
        elif body.get("deploy_status_code") in (0, "0", None) and (
            str(body.get("result")).split(" ")[0] != signal["config"]
        ):
            yield f"lost: the outputs of {signal['config']} are not in its signal"


def _unfinished(life: Life, heat: Heat) -> Iterator[str]:
    states = life.guest.states()
    ended = {config for what, config, _ in life.guest.runs() if what == "end"}
    given_up = {
        signal["config"]
        for signal in heat["signals"]
        if "interrupted" in str(signal["body"].get("deploy_stderr"))
    }
    for config, (runs, signals) in heat["wanted"].items():
        if not runs or config in heat["lost"]:
            continue
        if config not in ended | given_up:
            yield f"lost: {config} never ran to its end"
        # What a kill left in an earlier directory is overruled by a later one.
        where = set(states.get(config, [])) - {"running", "outbox"}
        if signals is not None and where != {"delivered"}:
            yield f"lost: the state of {config} is {where}"


def _wrong_outputs(life: Life) -> Iterator[str]:
    output = life.guest.output()
    for line in output.splitlines():
        if line.startswith("Traceback"):
            yield "traceback: see the log"
            break
    if life.around.password in output:
        yield "secret: a password is in the output"
    if SIGNATURE in output:
        yield "secret: the URL of a signal is in the output"
