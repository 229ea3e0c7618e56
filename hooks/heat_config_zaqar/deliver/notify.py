"""heat-config-notify: upstream's command for signalling a result by hand or from other tools.

`heat-config-notify CONFIG.json < SIGNAL.json`, both in upstream's formats.
Invariant: the signal goes through the outbox, like every other; a deployment that has a result
keeps it.
"""

import argparse
import contextlib
import json
import logging
import sys
import time
from pathlib import Path

from heat_config_zaqar import settings
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.errors import HeatConfigError, InvalidMetadataError, RefusedError
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.signal_body import STDOUT, Body, unusable
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.outbox import Outbox, Settled, entry_for

_LOG = logging.getLogger(__name__)


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
        notify(options.config, sys.stdin.buffer.read().decode("utf-8", "replace"))
    except (HeatConfigError, OSError) as error:
        print(f"heat-config-notify: {error}", file=sys.stderr)
        return 1
    return 0


def notify(config: Path, signal: str) -> None:
    """Put the signal for the deployment in `config` into the outbox and try to deliver it.

    :param signal: a map of outputs as JSON; any other text becomes the output `deploy_stdout`.
    :raises RefusedError: the deployment has a result that was given up.
    :raises HeatConfigError, OSError: the deployment cannot be read, or the outbox not be written.
    """
    current = settings.load()
    identity.require_ownership(current)
    document = durable.read_json(config)
    if document is None:
        raise InvalidMetadataError(f"there is no deployment in {config}")
    deployment = parse_deployment(document)
    outbox = Outbox(current.state_dir)
    if outbox.is_finished(deployment.id):
        settled = outbox.settled(deployment.id)
        if settled and settled[0] is Settled.FAILED:
            raise RefusedError(
                f"deployment {deployment.id} has a result that was given up: "
                "`heat-config-zaqar show` has it, `resend` sends it"
            )
        _LOG.warning("deployment %s has a result, and Heat takes one: kept that", deployment.id)
        return
    attempts = outbox.runs.of(deployment.id).attempts
    entry = entry_for(deployment, _body_of(signal), attempts, time.time())
    outbox.finish(entry)
    Delivery(outbox, current).deliver(entry.id)


def _body_of(signal: str) -> Body:
    """Return the outputs in a signal; like upstream, one that holds none is a success."""
    problem = "is not JSON"
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(signal or "{}")
        problem = unusable(body)
        if not problem:
            return dict(body)
    _LOG.warning("the signal %s: signalling it as %s", problem, STDOUT)
    return {STDOUT: signal}


if __name__ == "__main__":
    sys.exit(main())
