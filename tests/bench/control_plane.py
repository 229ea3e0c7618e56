"""What the cloud spends: CPU seconds of its processes and the requests that they answered.

CPU comes from /proc, requests from the services' own logs: uwsgi's access lines, and a line for
each answer that Zaqar's WebSocket server gives.
Invariant: reading changes nothing, and starts no request.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.cloud import Cloud

# Heat takes no part in collecting or signalling, but for the posts and pops that guests wait for.
SERVICES = ("keystone", "mariadb", "zaqar", "redis", "zaqar-websocket")
_TICKS = os.sysconf("SC_CLK_TCK")
_ACCESS = re.compile(rb"\] ([A-Z]+) (\S+) => generated ")
_FRAME = re.compile(rb'Request: action "(\w+)"')


@dataclass(frozen=True)
class Usage:
    """What was used up to a moment, or between two.

    :param seconds: of wall time.
    :param cpu: CPU seconds by service.
    :param requests: by "SERVICE KIND", as in "keystone login".
    """

    seconds: float
    cpu: dict[str, float]
    requests: Counter[str]

    def since(self, before: "Usage") -> "Usage":
        """Return what was used after `before`."""
        return Usage(
            self.seconds - before.seconds,
            {name: used - before.cpu[name] for name, used in self.cpu.items()},
            self.requests - before.requests,
        )

    def requests_of(self, service: str) -> int:
        """Return the number of all requests that a service answered."""
        return sum(n for name, n in self.requests.items() if name.split()[0] == service)

    @property
    def total_cpu(self) -> float:
        """CPU seconds of all services."""
        return sum(self.cpu.values())

    def document(self) -> dict[str, object]:
        """Return all of it for the results' file."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu,
            "requests": dict(sorted(self.requests.items())),
        }


class Meter:
    """Reads the usage of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._layout = cloud.layout
        self._read: dict[str, int] = {}
        self._requests: Counter[str] = Counter()

    def read(self) -> Usage:
        """Return what was used up to now."""
        cpu = {name: cpu_of_session(self.leader(name)) for name in SERVICES}
        for name, pattern in (
            ("keystone", _ACCESS),
            ("zaqar", _ACCESS),
            ("zaqar-websocket", _FRAME),
        ):
            for line in self._new_lines(name):
                if found := pattern.search(line):
                    words = [word.decode() for word in found.groups()]
                    self._requests[f"{name} {_kind(*words)}"] += 1
        return Usage(time.monotonic(), cpu, self._requests.copy())

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of each service."""
        return {name: memory_of_session(self.leader(name)) for name in SERVICES}

    def leader(self, service: str) -> int:
        """Return the process id of a service's session leader."""
        return int(json.loads(self._layout.record(service).read_text())["pid"])

    def _new_lines(self, service: str) -> Iterator[bytes]:
        with self._layout.log_file(service).open("rb") as log:
            log.seek(self._read.get(service, 0))
            for line in log:
                if line.endswith(b"\n"):  # the rest of a line comes with the next reading
                    self._read[service] = self._read.get(service, 0) + len(line)
                    yield line


def _kind(method: str, path: str = "") -> str:
    """Name a request to Keystone or Zaqar; token checks are Zaqar's, logins anybody's."""
    if path.endswith("/auth/tokens"):
        return "login" if method == "POST" else "token check"
    if path.rstrip("/").endswith(("/v3", "28500")) or path == "/":
        return "discovery"
    if "/messages" in path:
        return {"POST": "post", "GET": "list", "DELETE": "pop" if "pop=" in path else "delete"}[
            method
        ]
    return f"{method} {path.rpartition('/')[2]}".strip() if path else method


def cpu_of_session(leader: int) -> float:
    """Return the CPU seconds of a session's processes, and of their children that ended."""
    return sum(sum(map(int, fields[11:15])) for fields in _session(leader)) / _TICKS


def memory_of_session(leader: int) -> int:
    """Return the resident bytes of a session's processes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(fields[21]) * page for fields in _session(leader))


def _session(leader: int) -> Iterator[list[str]]:
    """Yield for each process of a session what follows its name in /proc/PID/stat, see proc(5)."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                text = (path / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            fields = text.rpartition(")")[2].split()
            if int(fields[3]) == leader:
                yield fields
