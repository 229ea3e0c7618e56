"""What befalls Zaqar with two of everything, by a seed: one trouble at a time, each mended again.

Invariant: when `befall` returns, every part runs.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from random import Random

from testbed.cloud import Cloud, pairs, processes
from testbed.cloud.layout import HOST, PORTS

# How long a part is away: shorter and longer than HAProxy needs to notice.
_AWAY_SECONDS = (1.0, 15.0)
# A primary that comes back while Sentinel replaces it takes what nobody will read; so, as
# docs/operations.md says, whatever starts Redis again waits until it has been replaced.
_REDIS_AWAY_SECONDS = (10.0, 20.0)
_DRAIN_SECONDS = 20.0
_ANSWER_SECONDS = 5.0


class Troubles:
    """Makes one trouble after the other.

    :ivar log: when each began and ended, in epoch seconds, and what it was.
    """

    def __init__(self, cloud: Cloud, chance: Random) -> None:
        self.log: list[tuple[float, float, str]] = []
        self._cloud = cloud
        self._chance = chance
        self._kinds: dict[str, Callable[[], None]] = {
            "an API is killed": lambda: self._kill(chance.choice(pairs.APIS)),
            "a WebSocket server is killed": lambda: self._kill(chance.choice(pairs.WEBSOCKETS)),
            "a WebSocket server is drained": self._drain,
            "HAProxy is killed": lambda: self._kill(pairs.HAPROXY),
            "the primary Redis is killed": lambda: self._kill_redis(self._primary()),
            "a replica is killed": lambda: self._kill_redis(self._replica()),
            "Redis fails over": self._fail_over,
            "a Sentinel is killed": lambda: self._kill(chance.choice(pairs.SENTINELS)),
        }

    def befall(self) -> str:
        """Make one trouble, wait until it is over; return what it was."""
        name = self._chance.choice(list(self._kinds))
        began = time.time()
        self._kinds[name]()
        self.log.append((began, time.time(), name))
        return name

    def sessions(self) -> dict[str, int]:
        """Return how many connections each WebSocket server has now, as HAProxy counts."""
        lines = self._haproxy("show stat").splitlines()
        rows = [line.split(",") for line in lines if line.startswith("zaqar-websocket,")]
        return {row[1]: int(row[4]) for row in rows if row[1] in pairs.WEBSOCKETS}

    def _kill_redis(self, name: str) -> None:
        self._kill(name, _REDIS_AWAY_SECONDS)

    def _kill(self, name: str, away: tuple[float, float] = _AWAY_SECONDS) -> None:
        known = processes.running(self._cloud.layout.record(name))
        assert known is not None, f"{name} does not run"
        os.kill(known.pid, signal.SIGKILL)
        time.sleep(self._chance.uniform(*away))
        self._cloud.start(name)

    def _drain(self) -> None:
        """Take a server out as an operator does before he works on it."""
        name = self._chance.choice(pairs.WEBSOCKETS)
        server = f"zaqar-websocket/{name}"
        self._haproxy(f"set server {server} state drain")
        self._cloud.stop(name)
        time.sleep(_DRAIN_SECONDS)
        self._cloud.start(name)
        self._haproxy(f"set server {server} state ready")

    def _fail_over(self) -> None:
        """Have another primary, as docs/operations.md says: the one before takes nothing more."""
        primary = PORTS[self._primary()]
        _ask(primary, f"CONFIG SET min-replicas-to-write {len(pairs.REDIS)}")
        answer = _ask(PORTS[pairs.SENTINELS[0]], f"SENTINEL FAILOVER {pairs.STORE}")
        assert answer.startswith("+OK"), f"Sentinel refuses to fail over: {answer}"
        time.sleep(self._chance.uniform(*_REDIS_AWAY_SECONDS))
        _ask(primary, f"CONFIG SET min-replicas-to-write {pairs.MIN_REPLICAS}")
        # Sentinel has had it written to its file meanwhile.
        _ask(primary, "CONFIG REWRITE")

    def _primary(self) -> str:
        answer = _ask(PORTS[pairs.SENTINELS[0]], f"SENTINEL GET-MASTER-ADDR-BY-NAME {pairs.STORE}")
        return next(name for name in pairs.REDIS if f"\r\n{PORTS[name]}\r\n" in answer)

    def _replica(self) -> str:
        primary = self._primary()
        return self._chance.choice([name for name in pairs.REDIS if name != primary])

    def _haproxy(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(pairs.admin_socket(self._cloud.layout)))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def _ask(port: int, command: str) -> str:
    with socket.create_connection((HOST, port), timeout=_ANSWER_SECONDS) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(4096).decode()
