"""adopt: this machine takes the place of the one whose disk it has.

Invariant: who has a first metadata of its own takes nobody's place.
"""

import argparse

from heat_config_zaqar import settings
from heat_config_zaqar.errors import RefusedError
from heat_config_zaqar.operate.report import require_access
from heat_config_zaqar.operate.terminal import Exit
from heat_config_zaqar.state import identity
from heat_config_zaqar.state.identity import Standing


def run(_: argparse.Namespace) -> int:
    """Record this machine as the owner of the state; os-collect-config then goes on by itself."""
    current = settings.load()
    require_access(current)
    standing = identity.standing(current)
    if standing is Standing.HEIR:
        raise RefusedError(
            f"{current.first_metadata} holds another server's metadata: `systemctl restart "
            "os-collect-config` begins anew with it, and sets the old state aside"
        )
    identity.own(current)
    was_ours = standing is Standing.OWNER
    print("the state was this machine's already" if was_ours else "the state is this machine's now")
    return Exit.DONE
