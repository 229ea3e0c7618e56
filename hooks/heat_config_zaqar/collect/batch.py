"""How waiting messages become the next snapshot.

Heat posts each snapshot whole but out of order, and nothing numbers them
(`heat.rpc.worker` runs one thread for each deployment). Pure: neither reads nor writes.
Invariant: the next snapshot holds every unfinished deployment that any message or the snapshot
before it held, unless a newer config took its place; it always has the last usable
`os-collect-config` section, so that the guest can never go deaf.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from heat_config_zaqar.deployment import parse_credentials
from heat_config_zaqar.nesting import too_deep
from heat_config_zaqar.snapshot import SECTION, Snapshot, deployments_of, usable
from heat_config_zaqar.succession import Succession

_LOG = logging.getLogger(__name__)


def next_snapshot(
    stored: Snapshot | None,
    messages: Iterable[Any],
    is_finished: Callable[[str], bool],
) -> tuple[Snapshot | None, list[str]]:
    """Make the next snapshot of the stored one and the bodies of the messages, oldest first.

    :param is_finished: tells for a config id whether it has a result.
    :returns: the snapshot, None where there is nothing usable; and the ids of the deployments that
        the last message lacks: while any of them is unfinished, the batch is in doubt.
    """
    received = [body for body in map(usable, messages) if body is not None]
    batch = ([stored] if stored else []) + received
    if not batch:
        return None, []
    newest = {key: value for key, value in batch[-1].items() if not too_deep(value)}
    parsed = {item.id: item for body in batch for item in deployments_of(body)}
    succession = Succession(parsed.values())
    last = deployments_of(batch[-1])
    present = {item.id for item in last}
    missing = [
        item
        for item in parsed.values()
        if item.id not in present and succession.successor(item) is None
    ]
    unfinished = [item.document for item in missing if not is_finished(item.id)]
    kept = [item.document for item in last if succession.successor(item) is None]
    newest["deployments"] = kept + unfinished
    _keep_section(newest, batch)
    return newest, [item.id for item in missing]


def _keep_section(snapshot: Snapshot, batch: list[Snapshot]) -> None:
    for body in reversed(batch):
        section = body.get(SECTION)
        if not isinstance(section, dict) or too_deep(section):
            continue
        if parse_credentials(section.get("zaqar")):
            if section is not batch[-1].get(SECTION):
                _LOG.warning("the metadata has no usable %s section: kept the last one", SECTION)
            snapshot[SECTION] = section
            return
