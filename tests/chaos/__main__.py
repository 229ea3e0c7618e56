"""Runs seeded histories against the real Keystone and Zaqar: `tox -e chaos -- --seed N`.

The same seed makes the same histories; how their processes interleave differs. A history that did
not hold leaves its guest and its list of events in build/chaos-failed; `--history SEED` runs it
again, with `--events 0,3,4` only these of it.
"""

import argparse
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random

from testbed.cloud import Cloud
from testbed.isolated import require_isolation
from tests import ram_disk
from tests.chaos import tenant
from tests.chaos.history import History, Plan
from tests.chaos.life import Result
from tests.chaos.steps import STEPS
from tests.chaos.surroundings import Surroundings
from tests.chaos.tenant import Place, Tenant

_BUILD = Path(__file__).resolve().parents[2] / "build"
# What is left of a guest whose history did not hold: its log, its state, its hooks' runs.
_FAILED = _BUILD / "chaos-failed"
_KINDS = ("lost", "double", "stale")


def main() -> int:
    """Run the command line's histories; return 0 where all held, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--kills", type=int, default=1000, help="in all histories together")
    parser.add_argument("--guests", type=int, default=4, help="how many live at the same time")
    parser.add_argument("--outages", type=int, default=4, help="restarts of the real Zaqar")
    parser.add_argument("--history", type=int, help="the seed of the only history to run")
    parser.add_argument("--events", type=_numbers, default=frozenset(), help="numbers: 0,1,7-9")
    options = parser.parse_args()
    plan = Plan(options.kills, options.events)
    chance = Random(options.seed)  # noqa: S311 # repeatable, not secret
    seeds = [chance.getrandbits(32) for _ in range(options.histories)]
    if options.history is not None:
        seeds = [options.history]
    require_isolation()
    cloud = Cloud(_BUILD / "cloud")
    print(f"chaos: seed {options.seed}", flush=True)
    # A test's own cloud stays up.
    was_up = any(cloud.status().values())
    try:
        tenant.start(cloud)
        results = run(cloud, seeds, plan, options.guests, options.outages)
    finally:
        if not was_up:
            cloud.down()
    return report(options.seed, len(seeds), results)


def _numbers(text: str) -> frozenset[int]:
    ranges = [part.partition("-") for part in text.split(",")]
    return frozenset(
        number for low, _, high in ranges for number in range(int(low), int(high or low) + 1)
    )


def run(cloud: Cloud, seeds: list[int], plan: Plan, guests: int, outages: int) -> list[Result]:
    """Run histories on a running cloud; return what they came to.

    :param guests: how many live at the same time, each in a process of its own.
    :param outages: how often the real Zaqar is stopped and started meanwhile.
    """
    made = tenant.make(cloud, map(Place, range(guests)))
    # Some histories end before they have theirs.
    each = replace(plan, kills=-(-plan.kills * 11 // (10 * len(seeds))))
    with ram_disk.mounted(_BUILD / "chaos") as directory:
        readers = [
            _fork(partial(_work, made, Place(number), directory, seeds[number::guests], each))
            for number in range(guests)
        ]
        return _gather(cloud, readers, len(seeds), outages)


def _gather(cloud: Cloud, readers: list[Connection], histories: int, outages: int) -> list[Result]:
    results: list[Result] = []
    restarts = {histories * number // (outages + 1) for number in range(1, outages + 1)}
    while readers:
        for reader in wait(readers):
            assert isinstance(reader, Connection)
            try:
                results.append(reader.recv())
            except EOFError:
                readers.remove(reader)
                continue
            _progress(results, histories)
            if len(results) in restarts:
                print("chaos: restarting Zaqar", flush=True)
                cloud.stop("zaqar")
                cloud.start("zaqar")
    return results


def report(seed: int, histories: int, results: list[Result]) -> int:
    """Print totals; return 0 where every history held, 1 otherwise."""
    kills: Counter[tuple[str, str]] = sum((item.kills for item in results), Counter())
    events: Counter[str] = sum((item.events for item in results), Counter())
    troubles = [(item.seed, text) for item in results for text in item.troubles]
    print(f"\n{'killed at':45} {'SIGKILL':>8} {'power cut':>10}")
    for step in STEPS:
        print(f"{step:45} {kills[step, 'SIGKILL']:8} {kills[step, 'power cut']:10}")
    print()
    for name, number in sorted(events.items()):
        print(f"{name:45} {number:8}")
    for history, text in troubles:
        print(f"history {history}: {text}")
    counts = Counter(text.partition(":")[0] for _, text in troubles)
    verdict = ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS)
    others = sum(number for kind, number in counts.items() if kind not in _KINDS)
    print(
        f"chaos: seed {seed}: {len(results)} histories, {kills.total()} kills: "
        f"{verdict}, {others} other troubles"
    )
    if len(results) < histories:
        print(f"chaos: {histories - len(results)} histories did not come to an end")
    return 1 if troubles or len(results) < histories else 0


def _progress(results: list[Result], histories: int) -> None:
    last = results[-1]
    for text in last.troubles:
        print(f"chaos: history {last.seed}: {text}", flush=True)
    kills = sum(item.kills.total() for item in results)
    bad = sum(bool(item.troubles) for item in results)
    print(
        f"chaos: {len(results)}/{histories} histories, {kills} kills, {bad} bad; "
        f"the last took {last.seconds:.0f} s",
        flush=True,
    )


def _work(
    made: Tenant, place: Place, directory: Path, seeds: list[int], plan: Plan, out: Connection
) -> None:
    around = Surroundings(made, place)
    try:
        for seed in seeds:
            home = directory / f"history-{seed}"
            result = History(seed, home, around, plan).run()
            if result.troubles:
                shutil.copytree(home, _FAILED / str(seed), dirs_exist_ok=True)
            shutil.rmtree(home)
            out.send(result)
    finally:
        around.close()


def _fork(action: Callable[[Connection], None]) -> Connection:
    reader, writer = Pipe(duplex=False)
    sys.stdout.flush()
    if os.fork() == 0:
        code = 1
        try:
            reader.close()
            action(writer)
            writer.close()
            code = 0
        except BaseException:  # noqa: BLE001 # this process ends here whatever it was
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    writer.close()
    return reader


if __name__ == "__main__":
    sys.exit(main())
