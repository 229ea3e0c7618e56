"""One guest whose Heat is played: it is updated again and again, and watched.

Invariant: an update begins when the one before it is complete; what a hook did is on disk with its
time, so that nothing that ran twice or never can hide.
"""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.chaos.heat import PlayedHeat
from tests.chaos.tenant import Place, Tenant
from tests.integration.guest_process import SCRIPTS, GuestProcess

PAUSE_SECONDS = (15.0, 60.0)
# Of an update that is not complete then, nobody will hear any more.
LOST_SECONDS = 300.0
_POLL_SECONDS = 1.0
_TIMER_SECONDS = 30.0
_COMMAND = """#!/bin/sh
# In the place of os-refresh-config and os-apply-config.
{python} -c '
import json, os
files = os.environ["OS_CONFIG_FILES"].split(":")
found = [item for name in files for item in json.load(open(name)).get("deployments", [])]
with open(os.environ["HEAT_SHELL_CONFIG"], "w") as stream:
    json.dump(found, stream)
' && exec {scripts}/55-heat-config
"""


@dataclass(frozen=True)
class Update:
    """One update: when Heat had it, and when its hook started, in epoch seconds; 0 for never."""

    posted: float
    started: float

    @property
    def seconds(self) -> float:
        """How long it took to the guest's hook."""
        return max(self.started - self.posted, 0)


class Served:
    """A guest and its Heat.

    :ivar heat: its Heat, which it asks as well where a post to its queue had no clear answer.
    :ivar updates: what came of each.
    :ivar troubles: each signal or run that was wrong.
    """

    def __init__(
        self, number: int, tenant: Tenant, place: Place, directory: Path, seed: int
    ) -> None:
        self.updates: list[Update] = []
        self.troubles: list[str] = []
        self.heat = PlayedHeat(tenant, place, seed + number)
        self._number = number
        self._chance = Random(f"{seed}/{number}")  # noqa: S311
        directory.mkdir()
        self._runs = directory / "runs"
        self._guest = GuestProcess(directory, self.heat.first_metadata()[0])
        self._guest.set(request_timeout="10")
        self._command = directory / "command"
        self._command.write_text(_COMMAND.format(python=sys.executable, scripts=SCRIPTS))
        self._command.chmod(0o700)
        self._delivered = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start os-collect-config."""
        self._process = self._guest.start_collecting(str(self._command))

    def end(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def live(self, over: threading.Event) -> None:
        """Create one deployment, and update it until `over`; the last update is waited for."""
        try:
            self._carry_out(self._create)
            while not over.wait(self._chance.uniform(*PAUSE_SECONDS)):
                self._carry_out(lambda: self.heat.update(1))
            self.troubles += self.heat.end()["troubles"]
            if self._process is not None and self._process.poll() is not None:
                self.troubles.append(f"os-collect-config ended with {self._process.returncode}")
        except Exception as error:  # noqa: BLE001 # of a thread nobody else would hear
            self.troubles.append(f"{type(error).__name__}: {error}")

    def _deliver(self) -> None:
        """Send what waits, as the timer of heat-config-zaqar-deliver does."""
        if time.monotonic() - self._delivered >= _TIMER_SECONDS and self._guest.outbox.pending():
            self._guest.deliver()
            self._delivered = time.monotonic()

    def _create(self) -> None:
        self.heat.create(1)

    def _carry_out(self, action: object) -> None:
        mark = f"mark-{self._number}-{len(self.updates)}"
        self.heat.set_script(f"#!/bin/sh\necho {mark} $(date +%s.%N) >>{self._runs}\n")
        posted = time.time()
        assert callable(action)
        action()
        while self.heat.poll() and time.time() - posted < LOST_SECONDS:
            time.sleep(_POLL_SECONDS)
            self._deliver()
        lines = self._runs.read_text().splitlines() if self._runs.exists() else []
        starts = [float(line.split()[1]) for line in lines if line.split()[0] == mark]
        if self.heat.waiting() or len(starts) != 1:
            state = "is not" if self.heat.waiting() else "is"
            ran = f"ran {len(starts)} times, {state} signalled"
            self.troubles.append(f"{mark} at {posted:.0f}: {ran}")
        self.updates.append(Update(posted, starts[0] if starts else 0))
