"""A guest's life as events see it: the guest, what surrounds it, and the kill that is armed.

Invariant: every end of one of the guest's programs is noticed here: a kill is counted, a power cut
loses what was not fsynced, and a reboot that a hook asked for is carried out.
"""

import shlex
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.guest import Guest
from tests.chaos.heat import SOURCES
from tests.chaos.steps import STEPS
from tests.chaos.surroundings import Surroundings

# What the ids of configs begin with whose hooks ask for a reboot at their first start.
REBOOTING = ("0", "1")
_HOOK = f"case $id/$HEAT_CONFIG_REBOOTS in [{''.join(REBOOTING)}]*/0) exit 194 ;; esac"
# What is done while it runs is done before it ends; who kills the guest leaves some of it behind.
_HELD_HOOK = f"until [ -e {{released}} ]; do sleep 0.05; done; sleep 0.4; {_HOOK}"
# How often each source of metadata is one of a history's server.
_SOURCE_WEIGHTS = {"zaqar": 14, "heat": 3, "cfn": 2, "local": 1}
ROUND = ("collect", "apply", "deliver")


@dataclass
class Result:
    """What one history came to.

    :ivar kills: how often the guest was killed at each step, by step and kind.
    :ivar troubles: each breach of the model, by kind and text.
    """

    seed: int
    seconds: float = 0
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)


class Life:
    """One guest, one Heat.

    :param directory: for the guest.
    :ivar random: chance of the event that happens now.
    :ivar reruns: how often the operator ran each config again.
    """

    def __init__(self, seed: int, directory: Path, around: Surroundings) -> None:
        self.result = Result(seed)
        self.around = around
        self.random = Random(f"{seed}/source")  # noqa: S311
        self.reruns: Counter[str] = Counter()
        self.source = self.random.choices(list(_SOURCE_WEIGHTS), list(_SOURCE_WEIGHTS.values()))[0]
        self.result.events[f"server with {SOURCES[self.source]}"] = 1
        local = directory / "local-data"
        local.mkdir(parents=True)
        self._section = around.call("begin", seed, self.source, str(local))
        self.guest = Guest(directory, self._section, around.token)
        self.guest.collect_from(self.source, around.call("configuration"))
        self.guest.set_hook(_HOOK)
        self.guest.hand_over(*around.call("first_metadata"))
        self._copies = 0
        self._armed = ""
        self._kind = ""

    def arm(self) -> None:
        """Choose where and how the guest is killed next."""
        self._armed = self.random.choice(STEPS)
        self._kind = self.random.choice(["SIGKILL", "power cut"])

    def disarm(self) -> None:
        """Kill nothing any more."""
        self._armed = ""

    def call(self, name: str, *arguments: Any) -> Any:
        """Let Heat, or what is between, do something."""
        return self.around.call(name, *arguments)

    def run(self, *entries: str, between: Callable[[], None] | None = None) -> None:
        """Run one of the guest's programs, or several at the same time.

        :param between: what happens when the first has begun, before the next one does.
        """
        pids: list[tuple[str, int]] = []
        for entry in entries:
            if pids and between:
                between()
            pids.append((entry, self.guest.start(entry, self._armed)))
        steps = [self.guest.wait(entry, pid) for entry, pid in pids]
        self._ended(next(filter(None, steps), ""))

    def interrupt_hook(
        self, entry: str, arguments: tuple[str, ...], action: Callable[[int], int]
    ) -> bool:
        """Do something while a hook of a program runs; return whether one did.

        :param action: gets the program's pid; returns the signal that it sent it, or 0.
        """
        released = self.guest.directory / "released"
        released.unlink(missing_ok=True)
        self.guest.set_hook(_HELD_HOOK.format(released=shlex.quote(str(released))))
        lines = len(self.guest.runs())
        pid = self.guest.start(entry, self._armed, *arguments)
        started = self.wait_for(lambda: len(self.guest.runs()) > lines, 1)
        self.guest.set_hook(_HOOK)
        sent = action(pid) if started else 0
        released.touch()
        self._ended(self.guest.wait(entry, pid, sent))
        return started

    def wait_for(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait for a condition; return whether it came to hold."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def reboot(self) -> None:
        """Restart the machine."""
        self.guest.reboot()
        self._log_in_perhaps()

    def keep_disk(self) -> Path:
        """Copy the guest's disk as it is; return where the copy is."""
        kept = self._beside("disk")
        self.guest.keep_disk(kept)
        return kept

    def put_disk_back(self, kept: Path) -> None:
        """Restart the machine with a disk that it had before."""
        self.guest.put_disk_back(kept, self.random)
        self._log_in_perhaps()

    def copy(self, metadata: dict[str, Any], machine: str) -> Guest:
        """Return another guest with this one's disk, and with the first metadata that it is handed.

        :param machine: its id of Nova.
        """
        directory = self._beside("copy")
        directory.mkdir()
        made = Guest(directory, self._section, self.around.token)
        made.take_disk(self.keep_disk())
        made.hand_over(metadata, machine)
        # What it sets aside and loses in a power cut nobody but its operator misses.
        made.may_fail = True
        return made

    def _beside(self, name: str) -> Path:
        self._copies += 1
        return self.guest.directory / f"{name}-{self._copies}"

    def _ended(self, step: str) -> None:
        """Go on after a program has ended: at a step where it was killed, else empty."""
        if self.random.random() < 0.5:
            # Heat looks for signals, or not yet.
            self.call("poll")
        if step:
            self.result.kills[step, self._kind] += 1
            if self._kind == "power cut":
                self.result.events["writes lost"] += self.guest.cut_power(self.random)
                self._log_in_perhaps()
            self.arm()
        if self.guest.wants_reboot:
            self.result.events["reboot that a hook asked for"] += 1
            self.reboot()

    def _log_in_perhaps(self) -> None:
        """Spare Keystone most logins after a restart: each costs it a third of a second."""
        if self.random.random() < 0.9:
            self.guest.give_token()
