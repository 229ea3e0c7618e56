"""Boots copies of used guests beside them, against the real Heat: `tox -e copies -- --seed N`.

Each run is a copy that is made at a moment of chance and handed another stack's metadata, the same,
or none. What each machine said is in Zaqar's own access log, under an address of its own. The same
seed makes the same choices; which original a run gets depends on the runs of its lane before.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median

from testbed import image as images
from testbed.cloud import Cloud
from testbed.guest import unpack
from testbed.heat import Heat
from tests import ram_disk
from tests.copies.run import HANDED, MOMENTS, Lane, Outcome
from tests.servers import Servers

Make = Callable[[], AbstractContextManager[Lane]]

_BUILD = Path(__file__).resolve().parents[2] / "build"


def main() -> int:
    """Run the command line's runs; return 0 where all held, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.copies", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the number of the first run")
    parser.add_argument("--lanes", type=int, default=3, help="originals at the same time")
    parser.add_argument(
        "--most-seconds", type=float, default=10, help="for a stack of a copy's own; 10 if idle"
    )
    parser.add_argument("--image", type=Path, default=_BUILD / "image" / "guest")
    options = parser.parse_args()
    image = images.load(options.image.absolute())
    assert image.tar is not None
    root = unpack(image.tar, image.tar.parent / "unpacked")
    numbers = list(range(options.first, options.first + options.runs))
    print(f"copies: seed {options.seed}", flush=True)
    # A busy machine's cloud takes long to answer, which is not what these runs are about.
    cloud = Cloud(
        _BUILD / "cloud", heat_options={"rpc_response_timeout": 600}, costly_passwords=True
    )
    was_up = any(cloud.status().values())
    cloud.up(print)
    client = Heat(cloud.admin_session())
    for left_behind in client.names():
        client.delete_stack(left_behind, wait=False)
    try:
        with ram_disk.mounted(_BUILD / "copies") as directory:
            make = partial(_lane, cloud, root, directory, count(), options.most_seconds)
            outcomes = run(make, options.seed, numbers, options.lanes)
    finally:
        if not was_up:
            cloud.down()
    return report(options.seed, len(numbers), outcomes)


def run(make: Make, seed: int, numbers: list[int], lanes: int) -> list[Outcome]:
    """Carry out runs on a running cloud, some at the same time; return what they came to."""
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in numbers:
        waiting.put(number)
    outcomes: list[Outcome] = []
    work = partial(_work, make, seed, waiting, outcomes)
    threads = [threading.Thread(target=work) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@contextmanager
def _lane(
    cloud: Cloud, root: Path, directory: Path, machines: "count[int]", most_seconds: float
) -> Iterator[Lane]:
    heat = Heat(cloud.admin_session())
    servers = Servers(cloud, heat, root, directory)
    lane = Lane(servers, heat, cloud.log_directory / "zaqar.log", machines, most_seconds)
    try:
        yield lane
        lane.close()
    finally:
        servers.close()


def _work(make: Make, seed: int, waiting: "SimpleQueue[int]", outcomes: list[Outcome]) -> None:
    with make() as lane, suppress(Empty):
        while True:
            outcomes.append(lane.run(seed, waiting.get_nowait()))
            _progress(outcomes)


def report(seed: int, wanted: int, outcomes: list[Outcome]) -> int:
    """Print totals; return 0 where every run held, 1 otherwise."""
    counts = Counter((item.moment, item.handed) for item in outcomes)
    print(f"\n{'made while':20}" + "".join(f"{handed:>22}" for handed in HANDED))
    for moment in MOMENTS:
        print(f"{moment:20}" + "".join(f"{counts[moment, handed]:22}" for handed in HANDED))
    seconds = [item.seconds for item in outcomes if item.seconds is not None]
    if seconds:
        print(
            f"own stack complete after its metadata was there: {median(seconds):.1f} s in the "
            f"middle, {max(seconds):.1f} s at most, of {len(seconds)}; "
            f"{sum(item.said for item in outcomes)} requests by copies about queues of their own"
        )
    bad = [item for item in outcomes if item.troubles]
    for item in bad:
        print(f"run {item.number}: {item.troubles[0]}")
    print(f"copies: seed {seed}: {len(outcomes)} runs, {len(bad)} did not hold")
    return 1 if bad or len(outcomes) < wanted else 0


def _progress(outcomes: list[Outcome]) -> None:
    last = outcomes[-1]
    for text in last.troubles:
        print(f"copies: run {last.number}: {text}", flush=True)
    seconds = f", own stack after {last.seconds:.1f} s" if last.seconds is not None else ""
    print(
        f"copies: {len(outcomes)}: run {last.number}: {last.moment}, {last.handed}{seconds}; "
        f"{sum(bool(item.troubles) for item in outcomes)} bad; took {last.took:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
