"""Idle simulated guests in a few processes, with the real collector (see `simulated_guests`).

Every other one hears of metadata by WebSocket, the others poll; each has a queue and a state of its
own, and a snapshot that it stored before.
Invariant: all of them end when the fleet does.
"""

import copy
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from heat_config_zaqar.state.metadata_store import MetadataStore
from tests.bench.control_plane import cpu_of_session, memory_of_session
from tests.bench.guests import settings_text
from tests.bench.servers import Metadata
from tests.bench.site import Site

_PROCESSES = 4
_USERS = 4
# The first guest of each user logs in before the others start.
_LOGIN_SECONDS = 20.0


class Fleet:
    """Guests that start one after the other.

    They go by the logins of four servers' users; with `own_tokens` each logs in for itself.

    :ivar all_up: when the last of them starts, in epoch seconds.
    """

    def __init__(
        self, site: Site, name: str, number: int, a_second: float, own_tokens: bool = False
    ) -> None:
        self._site = site
        self._name = name
        self._began = time.time() + 5
        self._a_second = a_second
        self._own_tokens = own_tokens
        self._guests = [self._guest(place) for place in range(number)]
        self.all_up = self._began + _LOGIN_SECONDS + number / a_second
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Fleet":
        """Return it, whose guests `start` starts."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all guests."""
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def by_websocket(self) -> list[str]:
        """The names of the guests that hear by WebSocket, which are those of their queues too."""
        return [guest["name"] for guest in self._guests if guest["push"]]

    @property
    def names(self) -> list[str]:
        """The names of all guests."""
        return [guest["name"] for guest in self._guests]

    @property
    def cpu_seconds(self) -> float:
        """What all of them have used."""
        return sum(cpu_of_session(process.pid) for process in self._processes)

    @property
    def resident_bytes(self) -> int:
        """What all of them take in memory."""
        return sum(memory_of_session(process.pid) for process in self._processes)

    def start(self, settled: float, end: float) -> None:
        """Start them; what goes wrong is counted before and after `settled`; they end at `end`."""
        for first in range(_PROCESSES):
            guests = self._guests[first::_PROCESSES]
            description = self._site.directory / f"process-{guests[0]['name']}.json"
            text = json.dumps({"guests": guests, "settled": settled, "end": end})
            description.write_text(text)
            with description.with_suffix(".log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.simulated_guests", description],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            self._processes.append(process)

    def outcomes(self) -> list[dict[str, Any]]:
        """Wait for their end; return what each process has counted."""
        return [json.loads(process.communicate(timeout=120)[0]) for process in self._processes]

    def states(self) -> Counter[str]:
        """Return how many guests hear of metadata in which way, as each tells its operator."""
        return Counter(self.state(name) for name in self.names)

    def state(self, name: str) -> str:
        """Return how a guest hears of metadata."""
        path: Path = self._site.runtime / name / "connection.json"
        return str(json.loads(path.read_text())["state"]) if path.exists() else "none"

    def stored(self, name: str) -> str:
        """Return the text of the snapshot that a guest has stored."""
        return (self._state(name) / "metadata.json").read_text()

    def snapshot(self, name: str) -> Metadata:
        """Return metadata without deployments, as Heat would post it for a guest."""
        users = min(_USERS, len(self._site.servers.metadata))
        snapshot = copy.deepcopy(self._site.servers.metadata[int(name[-5:]) % users])
        snapshot["os-collect-config"]["zaqar"]["queue_id"] = name
        snapshot["deployments"] = []
        return snapshot

    def _guest(self, number: int) -> dict[str, Any]:
        name = f"{self._name}-{number:05}"
        state, runtime = self._state(name), self._site.runtime / name
        MetadataStore(state / "metadata.json").save(self.snapshot(name), time.time())
        runtime.mkdir()
        if not self._own_tokens:
            tokens = self._site.runtime / "load-tokens"
            tokens.mkdir(mode=0o700, exist_ok=True)
            (runtime / "tokens").symlink_to(tokens)
        start = self._began + (_LOGIN_SECONDS if number >= _USERS else 0) + number / self._a_second
        # Users and processes go round by an even number: every second round is by WebSocket.
        push = number // _USERS % 2 == 0
        settings = settings_text(state, runtime, push)
        return {"name": name, "start": start, "push": push, "settings": settings}

    def _state(self, name: str) -> Path:
        return self._site.directory / self._name / name
