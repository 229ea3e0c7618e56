"""One run: a copy of a used guest is booted beside it, and each is to mind its own business.

Invariant: all of a run's choices come of its own chance; what it found wrong is in its outcome.
"""

import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from testbed.guest import METADATA_FILE, Container, wait_for
from testbed.heat import Heat
from tests.copies.wire import AccessLog, Request, Wire
from tests.servers import HELD, HOLD, STATE, Servers, first_metadata, runs, saying

# When the copy is made of the original, and what it is handed, by weight.
MOMENTS = ("at rest", "a hook runs", "a signal waits", "messages wait")
HANDED = {"another's metadata": 2, "the same metadata": 1, "no metadata": 1}
# What the original's wire refuses: what would end the waiting.
_WAITING = {
    "a signal waits": r"^POST .*/(messages|signal)[ ?]",
    "messages wait": r"^GET .*/queues/",
}
_PATIENCE = 300.0


@dataclass
class Outcome:
    """What one run came to.

    :ivar seconds: from a first metadata of the copy's own being there to its stack being complete.
    :ivar said: how many requests about queues the copy sent.
    """

    number: int
    moment: str
    handed: str
    seconds: float | None = None
    said: int = 0
    took: float = 0
    troubles: list[str] = field(default_factory=list)


@dataclass
class Machine:
    """A guest, its wire and its stack."""

    guest: Container
    wire: Wire
    stack: str
    metadata: dict[str, Any]


class Lane:
    """Runs one after the other, with one original at a time.

    :param log: Zaqar's access log.
    :param numbers: of machines, shared by all lanes.
    :param most_seconds: within which a copy's own stack is to be complete.
    """

    def __init__(
        self,
        servers: Servers,
        heat: Heat,
        log: Path,
        numbers: "count[int]",
        most_seconds: float,
    ) -> None:
        self._servers = servers
        self._heat = heat
        self._log = log
        self._numbers = numbers
        self._most_seconds = most_seconds
        self._first: Machine | None = None
        self._copy: Machine | None = None
        self._chance = Random()  # noqa: S311 # repeatable, not secret

    def run(self, seed: int, number: int) -> Outcome:
        """Carry out one run; one that fails costs the lane its original."""
        self._chance = Random(f"{seed}/{number}")  # noqa: S311
        handed = self._chance.choices(list(HANDED), list(HANDED.values()))[0]
        outcome = Outcome(number, self._chance.choice(MOMENTS), handed)
        began = time.monotonic()
        self._copy = None
        try:
            first = self._first or self._original(number)
            self._run(first, outcome)
        except Exception as error:  # noqa: BLE001 # whatever it is, the run did not hold
            outcome.troubles.append(f"{type(error).__name__}: {error}")
        for machine in filter(None, (self._first, self._copy) if outcome.troubles else ()):
            outcome.troubles.append(f"{machine.stack}: {_journal(machine.guest)}")
        self._go_on(outcome)
        outcome.took = time.monotonic() - began
        return outcome

    def close(self) -> None:
        """End the original."""
        self._end(self._first)
        self._first = None

    def _original(self, number: int) -> Machine:
        name = f"first-{number}-{uuid.uuid4().hex[:6]}"
        self._heat.create_stack(name, saying(name, HELD))
        metadata = first_metadata(self._heat, name)
        wire = Wire(next(self._numbers))
        guest = self._servers.make(metadata, settings=wire.setting)
        self._first = Machine(guest, wire, name, metadata)
        guest.boot()
        self._heat.wait_for(name, ["CREATE_COMPLETE"], _PATIENCE)
        return self._first

    def _run(self, first: Machine, outcome: Outcome) -> None:
        log = AccessLog(self._log)
        text = f"{outcome.number}-of-the-original"
        own = f"copy-{outcome.number}-{uuid.uuid4().hex[:6]}"
        has_own = outcome.handed == "another's metadata"
        if has_own:
            self._heat.create_stack(own, saying(own, HELD))
        if outcome.moment != "at rest":
            self._reach(first, outcome.moment, text)
        metadata = {} if outcome.handed == "no metadata" else first.metadata
        if has_own:
            metadata = first_metadata(self._heat, own)
        self._pause(1)
        wire = Wire(next(self._numbers))
        guest = self._servers.make(metadata, first.guest, wire.setting)
        copy = self._copy = Machine(guest, wire, own, metadata)
        (guest.root / HOLD).unlink(missing_ok=True)
        known = runs(guest)
        self._boot_beside(first, copy, outcome, text)
        outcome.said = sum(item.address == wire.address for item in log.requests())
        outcome.troubles += _breaches(first, copy, has_own, log.requests())
        if runs(first.guest).count(text) != 1:
            outcome.troubles.append(f"the original ran {runs(first.guest)}, {text} not once")
        if runs(guest) != known + [own] * has_own:
            outcome.troubles.append(f"the copy had run {known}, now {runs(guest)}")
        if outcome.seconds is not None and outcome.seconds > self._most_seconds:
            outcome.troubles.append(f"late: the copy's own stack took {outcome.seconds:.1f} s")

    def _boot_beside(self, first: Machine, copy: Machine, outcome: Outcome, text: str) -> None:
        """Boot the copy and let the original go on, in any order, until both are where they end."""
        acts: list[Callable[[], None]] = [
            copy.guest.boot,
            lambda: self._release(first, outcome.moment, text),
        ]
        self._chance.shuffle(acts)
        with ThreadPoolExecutor(1) as pool:
            has_own = outcome.handed == "another's metadata"
            own = pool.submit(self._await_own, copy) if has_own else None
            acts[0]()
            self._pause(4)
            acts[1]()
            if own:
                outcome.seconds = own.result()
            else:
                _await_standstill(copy.guest)
            self._await_output(first.stack, text)
        # The timer's time is half a minute.
        copy.guest.run("systemctl", "start", "heat-config-zaqar-deliver.service")
        self._pause(2)

    def _reach(self, first: Machine, moment: str, text: str) -> None:
        """Update the original's stack, and come to where it is to be copied."""
        first.wire.refuses = _WAITING.get(moment, "")
        if moment == "a hook runs":
            (first.guest.root / HOLD).touch()
        self._heat.update_stack(first.stack, saying(text, HELD))
        reached: dict[str, Callable[[], bool]] = {
            "a hook runs": lambda: text in runs(first.guest),
            "a signal waits": lambda: any((first.guest.root / STATE / "outbox").glob("*.json")),
            "messages wait": lambda: (
                self._heat.resource(first.stack, "say").status == "UPDATE_IN_PROGRESS"
            ),
        }
        wait_for(reached[moment], _PATIENCE, f"it does not come to this: {moment}")

    def _release(self, first: Machine, moment: str, text: str) -> None:
        """Let the original go on; one that rests gets its update now."""
        first.wire.refuses = ""
        (first.guest.root / HOLD).unlink(missing_ok=True)
        if moment == "at rest":
            self._heat.update_stack(first.stack, saying(text, HELD))
        if moment == "a signal waits":
            # The timer's time is half a minute.
            first.guest.run("systemctl", "start", "heat-config-zaqar-deliver.service")

    def _await_output(self, stack: str, text: str) -> None:
        """Wait until a stack shows the output of its own newest script."""

        def shows() -> bool:
            found = self._heat.wait_for(
                stack, ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_IN_PROGRESS"], _PATIENCE
            )
            return found.status == "UPDATE_COMPLETE" and (
                found.outputs["say_deploy_stdout"] == f"{text}\n"
            )

        wait_for(shows, _PATIENCE, f"{stack} does not show {text}")

    def _await_own(self, copy: Machine) -> float:
        stack = self._heat.wait_for(copy.stack, ["CREATE_COMPLETE"], _PATIENCE)
        seconds = time.time() - (copy.guest.root / METADATA_FILE).stat().st_mtime
        assert stack.outputs["say_deploy_stdout"] == f"{copy.stack}\n", stack.outputs
        return seconds

    def _go_on(self, outcome: Outcome) -> None:
        """End what the next run does not need; now and then the copy is the next original."""
        copy = self._copy
        has_own = outcome.handed == "another's metadata"
        if outcome.troubles:
            self.close()
            self._end(copy)
        elif has_own and self._chance.random() < 0.3:
            self.close()
            self._first = copy
        else:
            self._end(copy, has_own)

    def _end(self, machine: Machine | None, has_stack: bool = True) -> None:
        if machine is None:
            return
        machine.guest.close()
        machine.wire.close()
        shutil.rmtree(machine.guest.root.parent, ignore_errors=True)
        if has_stack:
            self._heat.delete_stack(machine.stack, wait=False)

    def _pause(self, longest: float) -> None:
        time.sleep(self._chance.uniform(0, longest))


def _breaches(first: Machine, copy: Machine, has_own: bool, requests: list[Request]) -> list[str]:
    """Return what the copy did in the original's name, and what nobody's wire has seen."""
    said = copy.wire.said()
    names = (first.stack, str(first.metadata["os-collect-config"]["zaqar"]["user_id"]))
    troubles = [f"the copy says {name}" for name in names if name.encode() in said]
    if said and not has_own:
        troubles.append(f"the copy is nobody, and says {said[:300]!r}")
    posts = 0
    for address, method, queue in requests:
        if address == copy.wire.address and not queue.startswith(f"{copy.stack}-"):
            troubles.append(f"the copy asked for another's queue: {method} {queue}")
        is_signals = queue.startswith(f"{first.stack}-say-")
        # What only a guest does: Heat posts into the one kind and pops from the other.
        is_guests = method in (("POST",) if is_signals else ("GET", "DELETE"))
        if is_guests and queue.startswith(f"{first.stack}-"):
            posts += is_signals
            if address != first.wire.address:
                troubles.append(f"not by the original: {method} {queue} from {address}")
    if posts > 1:
        troubles.append(f"{posts} signals into the original's queue for one update")
    return troubles


def _await_standstill(copy: Container) -> None:
    """Wait until a copy that has no metadata of its own says that it does nothing."""
    path = "/run/heat-config-zaqar/connection.json"
    wait_for(
        lambda: '"foreign"' in copy.run("cat", path).stdout,
        _PATIENCE,
        "the copy does not say that it is nobody",
        copy.console,
    )


def _journal(guest: Container) -> str:
    units = ("os-collect-config", "heat-config-zaqar-deliver")
    command = ("journalctl", "--no-pager", *(f"--unit={unit}" for unit in units))
    lines = guest.run(*command).stdout.splitlines()
    return "\n".join([line for line in lines if "dib-run-parts" not in line][-30:])
