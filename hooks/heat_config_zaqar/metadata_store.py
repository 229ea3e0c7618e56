"""The last snapshot of the server's metadata, and how waiting messages become the next one.

Heat posts each snapshot whole but out of order, and nothing numbers them
(`heat.rpc.worker` runs one thread for each deployment).
Invariant: a snapshot that is stored holds every unfinished deployment that any message or the
snapshot before it held, unless Heat said that it is gone or a newer config took its signal queue;
it always has the last usable `os-collect-config` section, so that the guest can never go deaf.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from heat_config_zaqar import durable
from heat_config_zaqar.deployment import (
    Credentials,
    Deployment,
    parse_credentials,
    parse_deployment,
)
from heat_config_zaqar.errors import CorruptFileError, InvalidMetadataError

Snapshot = dict[str, Any]
SECTION = "os-collect-config"

_LOG = logging.getLogger(__name__)


class MetadataStore:
    """The stored snapshot in one file.

    :param path: the file; its directory is made when first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Snapshot | None:
        """Return the stored snapshot, or None where none was ever received.

        A file that cannot be read is set aside and counts as none: Heat is asked instead.

        :raises OSError: the file system refuses.
        """
        try:
            stored = durable.read_json(self._path)
        except CorruptFileError as error:
            _LOG.error("%s; moved to %s", error, durable.set_aside(self._path))
            return None
        snapshot = stored.get("snapshot") if isinstance(stored, dict) else None
        return snapshot if isinstance(snapshot, dict) else None

    def current_at(self) -> float | None:
        """Return when the stored snapshot was last known to be complete.

        0 where it never was, or where the file cannot be read; None where there is no snapshot.

        :raises OSError: the file system refuses.
        """
        try:
            stored = durable.read_json(self._path)
        except CorruptFileError:
            return 0
        if stored is None:
            return None
        current = stored.get("current") if isinstance(stored, dict) else None
        return current if isinstance(current, int | float) else 0

    def save(self, snapshot: Snapshot, current_at: float) -> None:
        """Replace the stored snapshot; durable when this returns.

        :param current_at: when it was known to be complete, in seconds of the epoch; 0 while
            messages may be missing, so that this survives a crash.
        :raises OSError: the file system refuses.
        """
        durable.write_json(self._path, {"current": current_at, "snapshot": snapshot})

    def login(self) -> tuple[Credentials, str] | None:
        """Return the server's own login and metadata queue, or None where unknown.

        :raises OSError: the file system refuses.
        """
        snapshot = self.load() or {}
        section = snapshot.get(SECTION)
        return parse_credentials(section.get("zaqar")) if isinstance(section, dict) else None


def combine(
    stored: Snapshot | None,
    messages: Iterable[Any],
    is_finished: Callable[[str], bool],
) -> tuple[Snapshot | None, list[str]]:
    """Make the next snapshot of the stored one and the bodies of the messages, oldest first.

    :param is_finished: tells for a config id whether it has a result.
    :returns: the snapshot, None where there is nothing usable; and the ids of the unfinished
        deployments that the last message lacks: while there are any, the batch is in doubt.
    """
    received = [body for body in map(usable, messages) if body is not None]
    batch = ([stored] if stored else []) + received
    if not batch:
        return None, []
    newest = dict(batch[-1])
    parsed = {item.id: item for body in batch for item in deployments_of(body)}
    present = {item.id for item in deployments_of(newest)}
    missing = [
        item
        for item in parsed.values()
        if item.id not in present and not is_finished(item.id) and not _replaced(item, parsed)
    ]
    kept = [item.document for item in deployments_of(newest) if not _replaced(item, parsed)]
    newest["deployments"] = kept + [item.document for item in missing]
    _keep_section(newest, batch)
    return newest, [item.id for item in missing]


def deployments_of(snapshot: Snapshot) -> list[Deployment]:
    """Return the well-formed deployments of a snapshot; a malformed one costs no other."""
    found = []
    listed = snapshot.get("deployments")
    for document in listed if isinstance(listed, list) else []:
        try:
            found.append(parse_deployment(document))
        except InvalidMetadataError as error:
            _LOG.error("ignored: %s", error)
    return found


def _replaced(item: Deployment, others: dict[str, Deployment]) -> bool:
    """Whether a newer config uses the same signal queue, as after a stack update."""
    queue = item.text_input("deploy_queue_id")
    return bool(queue) and any(
        other.text_input("deploy_queue_id") == queue and other.creation_time > item.creation_time
        for other in others.values()
    )


def usable(body: Any) -> Snapshot | None:
    """Return the body of a message where it is a snapshot; None, logged, where it is none."""
    if not isinstance(body, dict):
        _LOG.error("ignored a metadata message that is not a map but %s", type(body).__name__)
        return None
    if not isinstance(body.get("deployments", []), list):
        _LOG.error("ignored a metadata message whose deployments are not a list")
        return None
    return body


def _keep_section(snapshot: Snapshot, batch: list[Snapshot]) -> None:
    for body in reversed(batch):
        section = body.get(SECTION)
        if isinstance(section, dict) and parse_credentials(section.get("zaqar")):
            if section is not batch[-1].get(SECTION):
                _LOG.warning("the metadata has no usable %s section: kept the last one", SECTION)
            snapshot[SECTION] = section
            return
