"""What happens in a guest that somebody may wait for, and which deployment a record is about.

A record of `logging` says that it is an event by `extra=Event.….extra`.
Invariant: this is the one table. Journal and console are two outputs of the same records, and an
id never means anything else.
"""

import contextlib
import enum
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple


class Event(enum.Enum):
    """An event; the value is its MESSAGE_ID in the journal (`docs/operations.md`)."""

    AGENT_STARTED = "e1de9d53a13d43b2968523bc2f153436"
    METADATA_RECEIVED = "c50ee44432a04fd88ba151af506bccdc"
    HOOK_STARTED = "b6c8ef14fe0b4fbca85d32f2cd9cbc96"
    HOOK_ENDED = "edc69d4b8fcf4eac9c87415e09660c6f"
    SIGNAL_DELIVERED = "95ff4cbbaa4d40708e6ab81466dff62b"
    SIGNAL_GIVEN_UP = "474e98014a354de4893e79752a09d6e2"
    SIGNAL_SUPERSEDED = "ea28f9aa92474ae59108f14fb5efc3d3"
    SIGNAL_NOT_SENT = "82c6b3336397434e92727ae04789f102"

    @property
    def extra(self) -> "dict[str, Event]":
        """What a record is given to be this event."""
        return {"event": self}


# What the console shows besides trouble.
ON_CONSOLE = (Event.AGENT_STARTED, Event.HOOK_STARTED, Event.HOOK_ENDED)


class Subject(NamedTuple):
    """The deployment that records are about; the name is empty where it is not known."""

    id: str
    name: str


_SUBJECT: ContextVar[Subject | None] = ContextVar("subject", default=None)


@contextlib.contextmanager
def about(config_id: str, name: str = "") -> Iterator[None]:
    """Whatever this thread logs meanwhile is about one deployment."""
    before = _SUBJECT.set(Subject(config_id, name))
    try:
        yield
    finally:
        _SUBJECT.reset(before)


def subject() -> Subject | None:
    """Return the deployment that a record of this moment is about; None for none."""
    return _SUBJECT.get()


def of(record: logging.LogRecord) -> Event | None:
    """Return the event that a record is; None for none."""
    event = getattr(record, "event", None)
    return event if isinstance(event, Event) else None
