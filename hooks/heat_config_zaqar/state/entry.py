"""One result, and the way its signal has to go: the format of the outbox's files.

Invariant: what is read back is an entry whole, or an error that names the file.
"""

import dataclasses
import enum
import logging
import time
from pathlib import Path
from typing import Any

from heat_config_zaqar.deployment import Credentials, Deployment, Transport
from heat_config_zaqar.errors import CorruptFileError, InvalidMetadataError
from heat_config_zaqar.signal_body import Body, storable
from heat_config_zaqar.state import durable
from heat_config_zaqar.succession import Target, target_of

# A service in trouble, or a proxy in its place, may refuse everybody; after this, it means it.
_REFUSED_SECONDS = 3600
# A signal is tried each half minute: of a longer pause, or a clock that was set, no more counts.
_COUNTED_SECONDS = 120
# A post whose sender has given up may wait in a proxy or before a busy API process, and be carried
# out all the same: seen after 20 s and more, where a store of two API servers had failed over.
_LATE_SECONDS = 60

_LOG = logging.getLogger(__name__)


class Settled(enum.StrEnum):
    """Where an entry goes from the outbox; the value names the directory."""

    DELIVERED = "delivered"
    FAILED = "failed"
    SUPERSEDED = "superseded"


@dataclasses.dataclass
class Entry:
    """A finished deployment and the way its signal has to go.

    :ivar sending: a post may have left for Zaqar; set before it does, so that a crash shows.
    :ivar sent_at: when that was last written, in seconds of the epoch.
    :ivar refused_at: when a service last refused it, in seconds of the epoch.
    :ivar refused_seconds: for how long services have refused it, or the look for newer metadata.
    :ivar settled: when the entry left the outbox; 0 while it is there.
    :ivar note: why the entry is where it is, for the operator.
    """

    id: str
    name: str
    group: str
    action: str
    creation_time: str
    attempts: int
    started: float
    finished: float
    transport: Transport
    queue: str
    url: str
    stack_id: str
    resource_name: str
    credentials: Credentials | None
    body: Body
    server_id: str = ""
    sending: bool = False
    sent_at: float = 0
    refused_at: float = 0
    refused_seconds: float = 0
    settled: float = 0
    note: str = ""

    @property
    def target(self) -> Target:
        """Which deployment resource of Heat this is a result of."""
        return target_of(self.stack_id, self.resource_name, self.queue)

    @property
    def may_change(self) -> bool:
        """Whether a service that refuses may still change its mind."""
        return self.refused_seconds < _REFUSED_SECONDS

    @property
    def may_arrive(self) -> bool:
        """Whether a post without a clear answer, a proxy's 504 too, may still be carried out.

        A clock that was set, either way, ends the wait.
        """
        return self.sending and abs(time.time() - self.sent_at) < _LATE_SECONDS

    def count_refusal(self) -> None:
        """Add the time since the last refusal."""
        since, self.refused_at = self.refused_at, time.time()
        if since:
            self.refused_seconds += min(max(self.refused_at - since, 0), _COUNTED_SECONDS)


def entry_for(deployment: Deployment, body: Body, attempts: int, started: float) -> Entry:
    """Make the outbox entry of a result.

    One that says nonsense about where to signal goes through Heat's own API, where that can be.
    """
    login, note = deployment.credentials, ""
    names = ("deploy_stack_id", "deploy_resource_name", "deploy_queue_id", "deploy_server_id")
    stack_id, resource_name, queue, server_id = map(deployment.text_input, names)
    has_login = bool(login.auth_url and login.password)
    try:
        transport = deployment.transport
    except InvalidMetadataError as error:
        transport, note = Transport.NONE, str(error)
        if has_login and stack_id and resource_name:
            transport = Transport.HEAT
        _LOG.error("%s; signalled by %s", error, transport)
    return Entry(
        id=deployment.id,
        name=deployment.name,
        group=deployment.group,
        action=deployment.action,
        creation_time=deployment.creation_time,
        attempts=attempts,
        started=started,
        finished=time.time(),
        transport=transport,
        queue=queue,
        url=deployment.text_input("deploy_signal_id"),
        stack_id=stack_id,
        resource_name=resource_name,
        credentials=login if has_login else None,
        body=storable(body),
        server_id=server_id,
        note=note,
    )


def read_entry(path: Path) -> Entry | None:
    """Return the entry in a file; None where there is no such file.

    :raises CorruptFileError: it holds something else.
    """
    document = durable.read_json(path)
    if document is None and not path.exists():
        return None
    try:
        login = document.pop("credentials")
        entry = Entry(
            **{**document, "transport": Transport(document["transport"])},
            credentials=Credentials(**login) if login else None,
        )
        _check_types(entry)
        if entry.credentials:
            _check_types(entry.credentials)
        return entry
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise CorruptFileError(f"{path} is no result: {error}") from error


def _check_types(made: Entry | Credentials) -> None:
    for field in dataclasses.fields(made):
        kinds: Any = (
            dict if field.name == "body" else int | float if field.type is float else field.type
        )
        if not isinstance(getattr(made, field.name), kinds):
            raise TypeError(f"{field.name} is not of its type")
