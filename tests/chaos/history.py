"""One seeded history: what happens to one guest, until Heat waits for nothing.

A history is a list of numbered events. Each has a chance of its own, made of the history's seed and
its number, so that events can be left out of a list that failed until the shortest is found.
Invariant: the same seed and events make the same history, but for how its processes
interleave.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.chaos import events, model
from tests.chaos.events import Event
from tests.chaos.life import ROUND, Life, Result
from tests.chaos.surroundings import Surroundings

_MOST_ROUNDS = 40
# A hook that asks for a reboot takes one for itself; a neighbour that waits for an hour takes more.
_MOST_ROUNDS_TO_CONVERGE = 16


@dataclass(frozen=True)
class Plan:
    """What histories have in common.

    :ivar kills: how many kills to reach, within a number of rounds.
    :ivar only: the numbers of the events to carry out; all where it is empty.
    """

    kills: int
    only: frozenset[int]


class History:
    """One guest's life.

    :param directory: for the guest.
    """

    def __init__(self, seed: int, directory: Path, around: Surroundings, plan: Plan) -> None:
        self._seed = seed
        self._plan = plan
        self._list = directory / "events"
        self._life = Life(seed, directory, around)

    def run(self) -> Result:
        """Live through it; return what it came to."""
        began = time.monotonic()
        result = self._life.result
        for number, event in enumerate(self._events()):
            self._carry_out(number, event)
        self._converge()
        heat = self._life.call("end")
        result.troubles += model.breaches(self._life, heat)
        model.count(self._life, heat)
        self._life.guest.reboot()
        result.seconds = time.monotonic() - began
        return result

    def _events(self) -> Iterator[Event]:
        """Yield what happens, until the guest was killed often enough."""
        chance = Random(f"{self._seed}/events")  # noqa: S311
        yield events.create
        for _ in range(_MOST_ROUNDS):
            kills = self._life.result.kills.total()
            if kills >= self._plan.kills and not self._plan.only:
                return
            if self._life.guest.troubles:
                return
            yield from _draw(chance, events.CHANGES, 1)
            yield from _some(chance, events.TROUBLES)
            yield from _draw(chance, events.STEPS, chance.randint(1, 3))
            yield events.services_back
            yield from _some(chance, events.RESTARTS)
            # What the armed step waits for, and the way to the next change.
            yield from (events.collect, events.apply, events.deliver)

    def _carry_out(self, number: int, event: Event) -> None:
        name, only = event.__name__, self._plan.only
        if only and number not in only:
            return
        with self._list.open("a") as stream:
            stream.write(f"{number} {name}\n")
        self._life.random = Random(f"{self._seed}/{number}")  # noqa: S311
        if event in events.CHANGES:
            # A new step each round: one that this guest never comes by must not stay armed.
            self._life.arm()
        self._life.result.events[name] += 1
        event(self._life)

    def _converge(self) -> None:
        """Let everything work again, until Heat waits for nothing and nothing is to be run."""
        life = self._life
        life.disarm()
        life.guest.clock.ahead = 0
        life.call("open")
        life.call("refresh")
        rounds = 0
        while rounds < 2 or (self._waits() and rounds < _MOST_ROUNDS_TO_CONVERGE):
            if life.guest.troubles:
                return
            rounds += 1
            for entry in ROUND:
                life.run(entry)
        life.result.events["rounds to converge"] += rounds

    def _waits(self) -> bool:
        states = self._life.guest.states()
        # A hook that has asked for a reboot is recorded as running, and is to run again.
        silent = self._life.call("silent")
        unfinished = [config for config in silent if not {*states.get(config, ())} - {"running"}]
        return bool(self._life.call("poll") or unfinished)


def _draw(chance: Random, table: dict[Event, float], number: int) -> list[Event]:
    return chance.choices(list(table), list(table.values()), k=number)


def _some(chance: Random, table: dict[Event, float]) -> list[Event]:
    return [event for event, probability in table.items() if chance.random() < probability]
