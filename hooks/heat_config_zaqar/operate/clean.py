"""clean: prepare a golden image, of which each copy is to be a guest of its own.

Invariant: what the build of the image made stays; nothing of this guest's life does.
"""

import argparse
import contextlib
import subprocess

from heat_config_zaqar import settings
from heat_config_zaqar.errors import RefusedError
from heat_config_zaqar.operate.report import require_access
from heat_config_zaqar.operate.terminal import Exit
from heat_config_zaqar.state import durable, identity

_UNITS = (
    "os-collect-config.service",
    "heat-config-zaqar-deliver.path",
    "heat-config-zaqar-deliver.timer",
    "heat-config-zaqar-deliver.service",
)


def run(options: argparse.Namespace) -> int:
    """Stop the services and forget who this guest was.

    :raises RefusedError: a hook runs.
    """
    current = settings.load()
    require_access(current)
    if durable.is_locked(current.state_dir / "apply.lock"):
        raise RefusedError("a hook runs: wait until `heat-config-zaqar status` says it is done")
    if not options.yes and input("Forget all deployments and logins of this guest? [y/N] ") != "y":
        return Exit.TROUBLE
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["systemctl", "stop", *_UNITS], check=False)
    identity.forget(current)
    print("clean: shut down now, and make the image")
    return Exit.DONE
