"""Waits with everything until the state is this machine's.

Invariant: os-collect-config is not started on the state of another machine.
"""

import contextlib
import logging
import time
from collections.abc import Callable

from heat_config_zaqar.errors import ForeignStateError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.identity import Standing

# Cloud-init may still be about to write this server's own metadata, and the operator to adopt.
_LOOK_SECONDS = 2

_LOG = logging.getLogger(__name__)


def await_ownership(settings: Settings, forever: bool, moves: Callable[[], None]) -> None:
    """Return when this machine may act; a state that is another's is set aside first.

    :param forever: wait for as long as that takes.
    :param moves: called again and again, to say that this is no hang.
    :raises ForeignStateError: it may not, and is not to wait.
    :raises OSError: the state directory cannot be read or written.
    """
    said = False
    moves()
    while (standing := identity.standing(settings)) is Standing.STRANGER:
        if not forever:
            identity.require_ownership(settings)
        if not said:
            _say(settings)
            said = True
        moves()
        time.sleep(_LOOK_SECONDS)
    if standing is Standing.HEIR:
        while durable.is_locked(settings.state_dir / "apply.lock"):
            # A hook goes on, for hours perhaps.
            moves()
            time.sleep(_LOOK_SECONDS)
        aside = identity.set_aside(settings)
        _LOG.warning("this disk was another server's: its state is in %s, and unused", aside)
    identity.own(settings)


def _say(settings: Settings) -> None:
    try:
        identity.require_ownership(settings)
    except ForeignStateError as error:
        _LOG.warning("%s", error)
        known = {"state": "foreign", "since": time.time(), "detail": str(error)}
        with contextlib.suppress(OSError):
            durable.write_json(settings.connection_file, known)
