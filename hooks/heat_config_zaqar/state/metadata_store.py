"""The last snapshot of the server's metadata, and since when it is known to be complete.

Invariant: what was stored is read back whole, or counts as lost and is set aside for the operator.
Reading and saving raise OSError where the file system refuses.
"""

import dataclasses
import logging
from pathlib import Path

from heat_config_zaqar.deployment import Credentials, Deployment
from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.snapshot import Snapshot, deployments_of, login_of
from heat_config_zaqar.state import durable

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Stored:
    """What was read at one moment.

    :ivar snapshot: None where none was ever received, or it was lost.
    :ivar current_at: when it was known to be complete, in seconds of the epoch; 0 while messages
        may be missing; None where nothing was ever stored.
    """

    snapshot: Snapshot | None = None
    current_at: float | None = None

    @property
    def deployments(self) -> list[Deployment]:
        """The well-formed deployments."""
        return deployments_of(self.snapshot or {})

    @property
    def login(self) -> tuple[Credentials, str] | None:
        """The server's own login and metadata queue, or None where unknown."""
        return login_of(self.snapshot)


class MetadataStore:
    """The stored snapshot in the file `path`, whose directory is made when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Stored:
        """Return what is stored; what was lost has `current_at` 0, so that Heat is asked."""
        try:
            stored = durable.read_json(self._path)
        except CorruptFileError as error:
            _LOG.error("%s; moved to %s", error, durable.set_aside(self._path))
            return Stored(current_at=0)
        if stored is None:
            return Stored()
        known = stored if isinstance(stored, dict) else {}
        snapshot, current_at = known.get("snapshot"), known.get("current")
        return Stored(
            snapshot if isinstance(snapshot, dict) else None,
            current_at if isinstance(current_at, int | float) else 0,
        )

    def save(self, snapshot: Snapshot, current_at: float) -> None:
        """Replace what is stored, a doubt included: durable when this returns."""
        durable.write_json(self._path, {"current": current_at, "snapshot": snapshot})
