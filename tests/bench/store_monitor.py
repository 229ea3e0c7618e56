"""When messages get into their queues, to the millisecond.

Zaqar tells a message's age in whole seconds only, so this listens to its store: redis' MONITOR
prints each command with its time. Zaqar indexes a message by a script that names the queue
(`index_messages` of `zaqar.storage.redis.messages`); from then on every reader sees it. Its two
keys tell it from the script that a claim or a pop runs, which names the queue alone.
Invariant: it only listens.
"""

import contextlib
import re
import socket
import threading
from collections import defaultdict
from types import TracebackType

from testbed.cloud.layout import HOST, PORTS

_INDEXED = re.compile(
    rb'^\+(\d+\.\d+) \[[^]]*\] "EVALSHA" "[0-9a-f]+" "2" "[^".]*\.([^".]+)\.messages" '
)


class StoreMonitor:
    """Listens from entering its context to leaving it."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = defaultdict(list)
        self._news = threading.Condition()
        self._socket = socket.create_connection((HOST, PORTS["redis"]))
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "StoreMonitor":
        self._socket.sendall(b"MONITOR\r\n")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def times(self, queue: str) -> list[float]:
        """Return when each message got into the queue, in seconds since the epoch."""
        with self._news:
            return list(self._times[queue])

    def times_of_all(self, prefix: str) -> list[float]:
        """Return when each message got into any queue whose name begins so."""
        with self._news:
            return [
                time
                for queue, times in self._times.items()
                if queue.startswith(prefix)
                for time in times
            ]

    def wait(self, queue: str, number: int, seconds: float) -> list[float]:
        """Wait until that many messages got into the queue; return their times.

        :raises TimeoutError: there were fewer within `seconds`.
        """
        with self._news:
            if not self._news.wait_for(lambda: len(self._times[queue]) >= number, seconds):
                raise TimeoutError(f"{len(self._times[queue])} of {number} messages in {queue}")
            return list(self._times[queue])

    def _listen(self) -> None:
        # What redis still sends after our own shutdown ends in a reset.
        with contextlib.suppress(ConnectionResetError), self._socket.makefile("rb") as lines:
            for line in lines:
                if found := _INDEXED.match(line):
                    with self._news:
                        self._times[found[2].decode()].append(float(found[1]))
                        self._news.notify_all()
