"""deliver: try to send each pending signal once, as the timer does.

Invariant: after a reboot nothing is sent before the metadata was read again. A stack that was
updated meanwhile would take an old signal for the new deployment's.
"""

import argparse

from heat_config_zaqar import settings
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.operate.report import require_access
from heat_config_zaqar.operate.terminal import Exit
from heat_config_zaqar.state import identity
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox


def run(_: argparse.Namespace) -> int:
    """Send what waits, and say what is left."""
    log_to_stderr()
    current = settings.load()
    require_access(current)
    identity.require_ownership(current)
    if not current.collected_file.exists():
        print("not delivering yet: no metadata was collected since the machine started")
        return Exit.DONE
    delivery = Delivery(Outbox(current.state_dir), current)
    delivery.supersede(MetadataStore(current.metadata_file).read().deployments)
    left = delivery.deliver_all()
    if left:
        print(f"{left} signals could not be sent yet; the timer will try again")
    return Exit.DONE
