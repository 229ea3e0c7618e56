"""heat-config-notify: upstream's command for signalling a result by hand or from other tools.

`heat-config-notify CONFIG.json < SIGNAL.json`, both in upstream's formats.
Invariant: the signal goes through the outbox, like every other; a deployment that has a result
keeps it.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from heat_config_zaqar import settings, signal_body
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.errors import HeatConfigError, InvalidMetadataError, RefusedError
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.outbox import Outbox, entry_for


def main() -> int:
    """Signal one deployment; exit 0 when the signal is on its way or safe in the outbox."""
    parser = argparse.ArgumentParser(
        prog="heat-config-notify",
        description="Signal the result of a deployment to Heat, through the outbox.",
    )
    parser.add_argument(
        "config", type=Path, help="file with the deployment, as Heat's metadata has it"
    )
    options = parser.parse_args()
    log_to_stderr()
    try:
        notify(options.config, sys.stdin.read())
    except (HeatConfigError, OSError) as error:
        print(f"heat-config-notify: {error}", file=sys.stderr)
        return 1
    return 0


def notify(config: Path, signal: str) -> None:
    """Put the signal for the deployment in `config` into the outbox and try to deliver it.

    :param signal: a map of outputs as JSON; empty for no outputs.
    :raises RefusedError: the deployment has a result already.
    :raises HeatConfigError: the deployment or the signal is malformed.
    :raises OSError: a file cannot be read or written.
    """
    current = settings.load()
    identity.require_ownership(current)
    document = durable.read_json(config)
    if document is None:
        raise InvalidMetadataError(f"there is no deployment in {config}")
    deployment = parse_deployment(document)
    try:
        body = json.loads(signal or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidMetadataError(f"the signal is not JSON: {error}") from error
    if problem := signal_body.unusable(body):
        raise InvalidMetadataError(f"the signal {problem}")
    outbox = Outbox(current.state_dir)
    if outbox.is_finished(deployment.id):
        raise RefusedError(
            f"deployment {deployment.id} has a result already, and Heat takes one: "
            "`heat-config-zaqar show` has it, `resend` sends one that was given up"
        )
    entry = entry_for(deployment, body, outbox.runs.of(deployment.id).attempts, time.time())
    outbox.finish(entry)
    Delivery(outbox, current).deliver(entry.id)


if __name__ == "__main__":
    sys.exit(main())
