"""Tells Heat's plug-in how far deployments are: that they are here, that a hook started, and lives.

Owns what goes into a deployment's progress queue, and when. Beside 55-heat-config's own thread,
which hands over what happens and never waits for the network.
Invariant: nothing depends on a message: one that is slow, refused or lost stays so, and nothing of
it is on disk. None begins after the deployment has its result.
"""

import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from heat_config_zaqar.deployment import Deployment
from heat_config_zaqar.errors import HeatConfigError
from heat_config_zaqar.signal_body import CONFIG_ID
from heat_config_zaqar.state.outbox import Outbox

if TYPE_CHECKING:
    from heat_config_zaqar.deliver.delivery import Delivery

HEARTBEAT_SECONDS = 60.0
# What is over within it is not worth a message: most hooks cost nothing. With the plug-in's look
# each two seconds, it is in Heat within five.
CALM_SECONDS = 1.0
# What is on its way when a hook ends may delay the signal so long.
_LAST_SECONDS = 1.0

_LOG = logging.getLogger(__name__)

# When a hook printed last, by the monotonic clock, and its last line where Heat may see that.
Printed = tuple[float, str]


@dataclasses.dataclass
class _Told:
    """What is to be told of one deployment.

    :ivar due: when, by the monotonic clock.
    :ivar attempt: which start of its hook it is; 0 while that waits.
    """

    deployment: Deployment
    due: float
    attempt: int = 0
    began: float = 0
    printed: Callable[[], Printed] = lambda: (0, "")

    def body(self) -> dict[str, Any]:
        """Return the message; times are spans, since the guest's clock may be wrong."""
        if not self.attempt:
            return {CONFIG_ID: self.deployment.id}
        now = time.monotonic()
        last, line = self.printed()
        return {
            CONFIG_ID: self.deployment.id,
            "attempt": self.attempt,
            "seconds": int(now - self.began),
            "quiet": int(now - last),
            "line": line,
        }


class Progress:
    """The messages of one run, posted one after the other by a thread that ends with the last.

    :param delivery: makes what posts; called by that thread alone.
    """

    def __init__(self, outbox: Outbox, delivery: "Callable[[], Delivery]") -> None:
        self._outbox = outbox
        self._delivery = functools.cache(delivery)
        self._changed = threading.Condition()
        self._due: dict[str, _Told] = {}
        self._posting = ""
        self._has_thread = False
        self._has_failed = False

    def waits(self, deployments: Iterable[Deployment]) -> None:
        """Note deployments that are here; told where their hooks wait for another's."""
        due = time.monotonic() + CALM_SECONDS
        with self._changed:
            self._due |= {item.id: _Told(item, due) for item in deployments if item.progress_queue}

    def runs(self, deployment: Deployment, attempt: int, printed: Callable[[], Printed]) -> None:
        """Note that a hook has started; told now, and each minute until `end`.

        :param printed: called by the thread that posts.
        """
        now = time.monotonic()
        with self._changed:
            if deployment.progress_queue:
                told = _Told(deployment, now + CALM_SECONDS, attempt, now, printed)
                self._due[deployment.id] = told
            self._changed.notify_all()
            if self._due and not self._has_thread:
                # The machine may have no room for a thread.
                with contextlib.suppress(RuntimeError):
                    threading.Thread(target=self._work, daemon=True).start()
                    self._has_thread = True

    def end(self, config_id: str) -> None:
        """Tell no more of a deployment; waits a moment for what is on its way."""
        with self._changed:
            self._due.pop(config_id, None)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._posting != config_id, _LAST_SECONDS)

    def _work(self) -> None:
        while (told := self._next()) is not None:
            self._post(told)
            with self._changed:
                self._posting = ""
                self._changed.notify_all()

    def _next(self) -> _Told | None:
        """Wait for what is due, a hook that runs before those that wait; None: nothing is left."""
        with self._changed:
            while self._due:
                now = time.monotonic()
                ready = [told for told in self._due.values() if told.due <= now]
                if ready:
                    told = max(ready, key=lambda told: told.attempt)
                    told.due = now + HEARTBEAT_SECONDS
                    if not told.attempt:
                        del self._due[told.deployment.id]
                    self._posting = told.deployment.id
                    return told
                self._changed.wait(min(told.due for told in self._due.values()) - now)
            self._has_thread = False
            return None

    def _post(self, told: _Told) -> None:
        deployment = told.deployment
        try:
            # Its hook may have signalled for itself, by heat-config-notify.
            if not self._outbox.is_finished(deployment.id):
                self._delivery().tell(deployment, told.body())
        except Exception as error:  # noqa: BLE001 # whatever it is, no hook and no signal may notice
            with self._changed:
                # The others would only wait for the same service.
                self._due = {key: item for key, item in self._due.items() if item.attempt}
            if not self._has_failed:
                reason = error if isinstance(error, HeatConfigError) else type(error).__name__
                _LOG.info(
                    "deployment %s: its progress cannot be shown in Heat: %s", deployment.id, reason
                )
            self._has_failed = True
