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
from heat_config_zaqar.signal_body import Body
from heat_config_zaqar.state import durable
from heat_config_zaqar.succession import Target, target_of

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
    sending: bool = False
    settled: float = 0
    note: str = ""

    @property
    def target(self) -> Target:
        """Which deployment resource of Heat this is a result of."""
        return target_of(self.stack_id, self.resource_name, self.queue)


def entry_for(deployment: Deployment, body: Body, attempts: int, started: float) -> Entry:
    """Make the outbox entry of a result.

    A deployment that says nonsense about where to signal is kept with no signal, for the operator.
    """
    fields: dict[str, Any] = {"transport": Transport.NONE, "queue": ""}
    try:
        fields = {"transport": deployment.transport, "queue": deployment.queue}
    except InvalidMetadataError as error:
        _LOG.error("%s; its result cannot be signalled", error)
        fields["note"] = str(error)
    login = deployment.credentials
    return Entry(
        id=deployment.id,
        name=deployment.name,
        group=deployment.group,
        action=deployment.action,
        creation_time=deployment.creation_time,
        attempts=attempts,
        started=started,
        finished=time.time(),
        url=deployment.text_input("deploy_signal_id"),
        stack_id=deployment.text_input("deploy_stack_id"),
        resource_name=deployment.text_input("deploy_resource_name"),
        credentials=login if login.auth_url and login.password else None,
        body=body,
        **fields,
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
        return Entry(
            **{**document, "transport": Transport(document["transport"])},
            credentials=Credentials(**login) if login else None,
        )
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise CorruptFileError(f"{path} is no result: {error}") from error
