"""Guests that are updated while Zaqar's parts fail: `tox -e ha -- --seed N --minutes N`.

Zaqar has two of everything (`testbed.cloud.pairs`); Heat's part is played, towards each guest by
itself. Nothing may be lost or done twice.
"""

import argparse
import shutil
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import quantiles

from testbed.cloud import Cloud, pairs
from tests.chaos import tenant as tenants
from tests.chaos.orchestration import OrchestrationApi
from tests.ha.events import Troubles
from tests.ha.served import LOST_SECONDS, Served, Update

_BUILD = Path(__file__).resolve().parents[2] / "build"
_BETWEEN_SECONDS = (15.0, 45.0)
# A guest's start is over a second of CPU, with what Keystone and the WebSocket server do for it.
_START_SECONDS = 2.0
# An update that began so long before the end of a trouble has felt it.
_FELT_SECONDS = 5.0


def main() -> int:
    """Run the command line's troubles; return 0 where nothing was lost or done twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.ha", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--guests", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    print(f"ha: seed {options.seed}", flush=True)
    cloud = Cloud(
        _BUILD / "cloud-ha", venv=_BUILD / "cloud-venv", with_pairs=True, costly_passwords=True
    )
    directory = _BUILD / "ha"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        for service in ("mariadb", "keystone", *_zaqar()):
            cloud.start(service)
        place = tenants.Place(0, is_direct=True)
        tenant = tenants.make(cloud, [place])
        served = [
            Served(number, tenant, place, directory / str(number), options.seed)
            for number in range(options.guests)
        ]
        OrchestrationApi(place.heat).heats = [guest.heat for guest in served]
        troubles = Troubles(cloud, Random(options.seed))  # noqa: S311
        spread = _run(served, troubles, options.minutes * 60, Random(options.seed))  # noqa: S311
        return _report(served, troubles, spread)
    finally:
        cloud.down()


def _zaqar() -> tuple[str, ...]:
    return (*pairs.REDIS, *pairs.SENTINELS, *pairs.APIS, *pairs.WEBSOCKETS, pairs.HAPROXY)


def _run(
    served: list[Served], troubles: Troubles, seconds: float, chance: Random
) -> list[dict[str, int]]:
    """Have the guests live while troubles befall; return how they spread, after each trouble."""
    over, spread = threading.Event(), []
    with ExitStack() as ends:
        lives = []
        for guest in served:
            guest.start()
            ends.callback(guest.end)
            lives.append(threading.Thread(target=guest.live, args=(over,)))
            lives[-1].start()
            time.sleep(_START_SECONDS)
        print(f"ha: {len(served)} guests run", flush=True)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                time.sleep(chance.uniform(*_BETWEEN_SECONDS))
                spread.append(troubles.sessions())
                name = troubles.befall()
                done = sum(len(guest.updates) for guest in served)
                print(f"ha: {name}; before it {spread[-1]}; {done} updates", flush=True)
        finally:
            over.set()
            for life in lives:
                life.join(2 * LOST_SECONDS)
    return spread


def _report(served: list[Served], troubles: Troubles, spread: list[dict[str, int]]) -> int:
    updates = [update for guest in served for update in guest.updates]
    felt = [update for update in updates if _has_felt(update, troubles)]
    quiet = [update for update in updates if not _has_felt(update, troubles)]
    print()
    for name, number in sorted(Counter(name for *_, name in troubles.log).items()):
        print(f"{number:4} times {name}")
    for name, found in (("all", updates), ("in quiet", quiet), ("in trouble", felt)):
        print(f"{name:12}{_figures(found)}")
    shares = [max(item.values()) / max(sum(item.values()), 1) for item in spread if item]
    if shares:
        print(f"the fuller WebSocket server had {sum(shares) / len(shares):.0%} of the connections")
    wrong = [trouble for guest in served for trouble in guest.troubles]
    for trouble in wrong:
        print(f"wrong: {trouble}")
    print(f"ha: {len(troubles.log)} troubles, {len(updates)} updates, {len(wrong)} wrong")
    return 1 if wrong else 0


def _has_felt(update: Update, troubles: Troubles) -> bool:
    return any(
        began - _FELT_SECONDS <= update.posted <= end + _FELT_SECONDS
        for began, end, _ in troubles.log
    )


def _figures(updates: list[Update]) -> str:
    seconds = sorted(update.seconds for update in updates if update.started)
    if len(seconds) < 2:
        return f"n {len(seconds)}"
    cuts = quantiles(seconds, n=100, method="inclusive")
    return (
        f"n {len(seconds)}  p50 {cuts[49]:.2f}  p90 {cuts[89]:.2f}  p99 {cuts[98]:.2f}  "
        f"max {seconds[-1]:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
