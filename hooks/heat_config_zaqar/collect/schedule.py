"""When the metadata queue is read next.

Pure: what happened and when goes in, the time until the next look comes out. Times are seconds of
one clock that never goes back; chance is the caller's.
"""

import dataclasses
import enum

from heat_config_zaqar.backoff import pause

# After a start or a change more is likely to follow, and a command that failed to be tried again.
_QUICK_SECONDS = 60
_QUICK_INTERVAL = 1
_RETRY_INTERVAL = 5
# Idle guests that poll look as often, so who comes back to a service is no more than these.
_AWAY_CAP = 15
# Zaqar notifies while it still has to store the message (`zaqar.notification.notifier` is a stage
# before the storage): what woke us may not be there yet when we look.
_LATE_SECONDS = 5
_LATE_FIRST_LOOK = 0.03


class State(enum.StrEnum):
    """How metadata comes in, as `Settings.connection_file` says it."""

    PUSH = "push"
    POLLING = "polling"
    AWAY = "away"
    REFUSED = "refused"


READABLE = (State.PUSH, State.POLLING)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What the next look follows from.

    :ivar poll_interval: seconds between two looks of an idle guest that nothing wakes.
    :ivar changed: when the process started, or last found a message.
    :ivar state: what the last look showed; None before the first one.
    :ivar since: when that began.
    :ivar woken: when a message was last announced.
    """

    poll_interval: float
    changed: float
    state: State | None = None
    since: float = 0
    woken: float = float("-inf")

    def looked(self, now: float, state: State, found: bool) -> "Schedule":
        """Return what follows from a look, which `found` messages or none."""
        since = self.since if state is self.state else now
        changed = now if found else self.changed
        return dataclasses.replace(self, state=state, since=since, changed=changed)

    def until_look(self, now: float) -> float:
        """Return the seconds until the next look; infinite where only a wake-up leads to one."""
        match self.state:
            case State.PUSH:
                lasted = now - self.woken
                return max(lasted, _LATE_FIRST_LOOK) if lasted < _LATE_SECONDS else float("inf")
            case State.POLLING:
                return _QUICK_INTERVAL if self._is_quick(now) else self.poll_interval
            case State.AWAY:
                return pause(now - self.since, 1, _AWAY_CAP)
            case State.REFUSED:
                # A deleted stack answers so for ever, and nothing tells it from other trouble.
                return pause(now - self.since, 30, 900)
        return 0

    def until_others(self, now: float, longest: float) -> float:
        """Return the seconds after which the other collectors and the command have their turn."""
        return min(longest, _RETRY_INTERVAL) if self._is_quick(now) else longest

    def _is_quick(self, now: float) -> bool:
        return now - self.changed < _QUICK_SECONDS
