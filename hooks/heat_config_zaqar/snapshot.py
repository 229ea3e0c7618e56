"""A whole snapshot of the server's metadata, as Heat posts it.

Owns the format around the deployments (`heat.engine.resources.server_base`): a map with the list
`deployments` and the section `os-collect-config`. Pure: neither reads nor writes.
Invariant: one malformed deployment costs no other.
"""

import logging
from typing import Any

from heat_config_zaqar.deployment import (
    Credentials,
    Deployment,
    parse_credentials,
    parse_deployment,
)
from heat_config_zaqar.errors import InvalidMetadataError

Snapshot = dict[str, Any]
SECTION = "os-collect-config"

_LOG = logging.getLogger(__name__)


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


def usable(body: Any) -> Snapshot | None:
    """Return the body of a message where it is a snapshot; None, logged, where it is none."""
    if not isinstance(body, dict):
        _LOG.error("ignored a metadata message that is not a map but %s", type(body).__name__)
        return None
    if not isinstance(body.get("deployments", []), list):
        _LOG.error("ignored a metadata message whose deployments are not a list")
        return None
    return body


def login_of(snapshot: Snapshot | None) -> tuple[Credentials, str] | None:
    """Return the server's own login and metadata queue, or None where the snapshot has none."""
    section = (snapshot or {}).get(SECTION)
    return parse_credentials(section.get("zaqar")) if isinstance(section, dict) else None
