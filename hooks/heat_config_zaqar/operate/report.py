"""What is known of this guest and its deployments: one row for each, whatever state it is in.

Joins the records of the outbox with the deployments that Heat's metadata holds now.
Invariant: only reads; neither a credential nor a pre-signed URL leaves here; a damaged record
becomes a row that says so and hides no other.
"""

import contextlib
import dataclasses
import errno
import math
import os
import time
from pathlib import Path
from typing import Any

from heat_config_zaqar.deployment import Deployment
from heat_config_zaqar.errors import CorruptFileError, HeatConfigError, RefusedError
from heat_config_zaqar.operate.row import Row, group_without_hook, number, row_of, text
from heat_config_zaqar.run.apply import GROUPS_WITHOUT_HOOK, config_file, read_deployments
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import Body
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.metadata_store import MetadataStore, Stored
from heat_config_zaqar.state.outbox import Outbox
from heat_config_zaqar.succession import Succession

# A git-like length: short enough for a table, long enough to stay unique for a while.
_SHORTEST_ID = 8
# Heat posts metadata messages with this life (`heat.engine.clients.os.zaqar`).
_MESSAGE_LIFE_SECONDS = 3600
_SECRET_KEYS = ("credentials", "url")


class UnknownDeploymentError(HeatConfigError):
    """No deployment, or more than one, goes by what the operator typed."""


class Report:
    """The state of the guest at the moment it is made.

    :ivar settings: with the CA file that the metadata names.
    :ivar is_applying: 55-heat-config, or a rerun, is at work.
    :ivar complete_at: when the stored metadata was known to be complete; 0 for not, or never.
    :raises PermissionError: the state directory is for root alone.
    :raises OSError: another file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        require_access(settings)
        self.connection = _connection(settings)
        self.stored = stored = MetadataStore(settings.metadata_file).read()
        ca_file = (stored.login[0].ca_file if stored.login else "") or settings.ca_file
        self.settings = dataclasses.replace(settings, ca_file=ca_file)
        self.outbox = Outbox(settings.state_dir)
        self.deployments = _known_deployments(stored)
        self.has_metadata = stored.snapshot is not None or bool(self.deployments)
        self.is_applying = durable.is_locked(settings.state_dir / "apply.lock")
        self.complete_at = number(stored.current_at)
        self._succession = Succession(self.deployments.values())
        self.records = {record["id"]: (state, record) for state, record in self.outbox.records()}
        ids = [*self.records, *filter(self._is_new, self.deployments)]
        self.rows = sorted(map(self._row, ids), key=lambda row: (row.started or math.inf, row.name))

    def find(self, wanted: str) -> Row:
        """Return the deployment with this id, with the only id that begins so, or of this name.

        Of several with one name, the one that Heat's metadata holds now.

        :raises UnknownDeploymentError: there is none, or it is not clear which.
        """
        found = [row for row in self.rows if row.id == wanted] or [
            row for row in self.rows if row.id.startswith(wanted) or row.name == wanted
        ]
        if len(found) > 1:
            found = [row for row in found if row.current] or found
        if not found:
            raise UnknownDeploymentError(f"no deployment {wanted!r}: `status --all` lists them")
        if len(found) > 1:
            ids = ", ".join(row.id for row in found)
            raise UnknownDeploymentError(f"{wanted!r} may be any of {ids}: type more of the id")
        return found[0]

    def short_ids(self) -> dict[str, str]:
        """Return for each id its shortest beginning, of 8 characters or more, that is unique."""
        length = _SHORTEST_ID
        ids = [row.id for row in self.rows]
        while len({name[:length] for name in ids}) < len(ids):
            length += 1
        return {name: name[:length] for name in ids}

    def details(self, row: Row) -> dict[str, Any]:
        """Return all that is known of one deployment, but for credentials and URLs.

        Inputs are named without their values: any of them may be a secret.
        """
        shown = dataclasses.asdict(row)
        for key, value in self._record(row.id).items():
            if key not in _SECRET_KEYS:
                shown.setdefault(key, value)
        item = self.deployments.get(row.id)
        if item is not None:
            shown["creation_time"] = item.creation_time
            shown["inputs"] = [entry["name"] for entry in item.document["inputs"]]
        return shown

    def body(self, row: Row) -> Body:
        """Return the outputs of a result; empty where there is none, or it is damaged."""
        body = self._record(row.id).get("body")
        return body if isinstance(body, dict) else {}

    def newest(self, config_id: str) -> Deployment:
        """Return a deployment, if it is the newest config of its resource that is known here.

        :raises RefusedError: it is not, or the metadata does not hold it any more.
        """
        deployment = self.deployments.get(config_id)
        if deployment is None:
            raise RefusedError(
                f"the metadata of this server no longer holds deployment {config_id}"
            )
        newer = self._succession.successor(deployment)
        if newer is not None:
            raise RefusedError(f"deployment {config_id} is out of date: {newer.id} took its place")
        return deployment

    @property
    def server_id(self) -> str:
        """The server's id, by which Heat can be asked; empty where nothing names it."""
        return identity.server_id(self.deployments.values())

    @property
    def is_in_doubt(self) -> bool:
        """Whether messages may have expired that nobody has read."""
        read_at = number(_read(self.settings.collected_file))
        since = time.time() - max(read_at, self.complete_at)
        is_complete = self.complete_at and 0 <= since < _MESSAGE_LIFE_SECONDS
        return self.stored.snapshot is not None and not is_complete

    def missing_hook(self, item: Deployment) -> str:
        """Return the group for which a current deployment needs a hook that is not here."""
        group = group_without_hook(item) if self._is_current(item.id) else ""
        return "" if group in GROUPS_WITHOUT_HOOK else group

    def _record(self, config_id: str) -> dict[str, Any]:
        return self.records.get(config_id, ("", {}))[1]

    def _is_current(self, config_id: str) -> bool:
        if not self.has_metadata:
            return True
        item = self.deployments.get(config_id)
        return item is not None and self._succession.successor(item) is None

    def _is_new(self, config_id: str) -> bool:
        return config_id not in self.records and self._is_current(config_id)

    def _row(self, config_id: str) -> Row:
        return row_of(
            config_id,
            *self.records.get(config_id, ("", {})),
            self.deployments.get(config_id),
            current=self._is_current(config_id),
            is_applying=self.is_applying,
        )


def require_access(settings: Settings) -> None:
    """Check that the caller may see the state; what is not there yet may be seen.

    :raises PermissionError: it is for root alone.
    """
    directory = settings.state_dir
    if directory.exists() and not os.access(directory, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "for root alone", str(directory))


def _known_deployments(stored: Stored) -> dict[str, Deployment]:
    """Return by id what the stored metadata holds and what was handed to 55-heat-config.

    The second has the deployments of the other collectors as well.
    """
    try:
        rendered = read_deployments(config_file())
    except CorruptFileError:
        rendered = []
    return {item.id: item for item in [*rendered, *stored.deployments]}


def _connection(settings: Settings) -> dict[str, Any]:
    """Return what the collector last said of its way to the metadata: state, since, detail."""
    said = _read(settings.connection_file)
    said = said if isinstance(said, dict) else {}
    return {
        "state": text(said.get("state")) or "unknown",
        "since": number(said.get("since")),
        "detail": text(said.get("detail")),
    }


def _read(path: Path) -> Any:
    with contextlib.suppress(CorruptFileError):
        return durable.read_json(path)
    return None
