"""resend: send a signal that was given up once more.

Invariant: nothing here posts to a signal queue what Heat may have had already, or no longer waits
for: the message would stay there and complete the next stack update with outdated outputs. A
signal that was given up goes through Heat's own API instead, which ignores a deployment that is
not in progress, and only while Heat still has this config for the deployment.
"""

import argparse
import json

from heat_config_zaqar import settings
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import Deployment, Transport
from heat_config_zaqar.errors import RefusedError
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.operate.terminal import Exit
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import DEFAULT_LIMIT_BYTES, fit
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.outbox import Entry, Settled
from heat_config_zaqar.succession import Succession
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.presigned import send_presigned
from heat_config_zaqar.wire.session import Connection

_REASONS = {
    Settled.DELIVERED: (
        "Heat's side has its signal; a second one would complete the next stack update "
        "with these outputs"
    ),
    Settled.SUPERSEDED: "the stack was updated since, and Heat waits for the newer config",
}


def run(options: argparse.Namespace) -> int:
    """Send the signal of one deployment."""
    log_to_stderr()
    identity.require_ownership(settings.load())
    report = Report(settings.load())
    return resend(report, report.find(options.id).id)


def resend(report: Report, config_id: str) -> int:
    """Signal a result whose signal was given up; one that waits is tried at once, as it is.

    :raises RefusedError: it has no result yet, Heat has the signal, or it is out of date.
    :raises TemporaryError, PermanentError: it could not be sent, and stays given up.
    """
    if report.outbox.find_pending(config_id) is None:
        _send_given_up(report, config_id)
    elif not _deliver(report, config_id):
        print("not sent yet; it stays pending, and the timer will try again")
        return Exit.MOVING
    print("sent")
    return Exit.DONE


def require_collected(current: Settings) -> None:
    """Check that metadata was collected since the machine started, as `deliver` does.

    :raises RefusedError: it was not.
    """
    if not current.collected_file.exists():
        raise RefusedError(
            "no metadata was collected since the machine started: the stack may have been "
            "updated meanwhile, and Heat would take an old signal for the new config's"
        )


def _deliver(report: Report, config_id: str) -> bool:
    require_collected(report.settings)
    delivery = Delivery(report.outbox, report.settings)
    delivery.supersede(report.deployments.values())
    delivery.deliver(config_id)
    settled = report.outbox.settled(config_id)
    if settled is not None and settled[0] is not Settled.DELIVERED:
        raise RefusedError(f"deployment {config_id} is {settled[0]}: {settled[1].note}")
    return settled is not None


def _send_given_up(report: Report, config_id: str) -> None:
    with durable.locked(report.settings.state_dir / "deliver.lock"):
        settled = report.outbox.settled(config_id)
        if settled is None:
            raise RefusedError(f"deployment {config_id} has no result yet")
        where, entry = settled
        if entry.transport is Transport.NONE:
            reason = entry.note or "it asked for no signal"
            raise RefusedError(f"deployment {config_id} has nowhere to signal to: {reason}")
        if where is not Settled.FAILED:
            raise RefusedError(f"deployment {config_id} is {where}: {_REASONS[where]}")
        _signal(entry, report.newest(config_id), report.settings)
        report.outbox.redeem(entry, "sent again by the operator")


def _signal(entry: Entry, deployment: Deployment, current: Settings) -> None:
    body = fit(entry.body, DEFAULT_LIMIT_BYTES)
    if entry.transport in (Transport.CFN, Transport.TEMP_URL):
        method = "PUT" if entry.transport is Transport.TEMP_URL else "POST"
        url = deployment.text_input("deploy_signal_id")
        send_presigned(method, url, json.dumps(body), current)
        return
    connection = Connection(deployment.credentials, current)
    answer = heat.deployments_of_server(connection, deployment.text_input("deploy_server_id"))
    known = {item.id: item for item in deployments_of({"deployments": answer})}
    if entry.id not in known or Succession(known.values()).successor(deployment) is not None:
        raise RefusedError(f"Heat has a newer config in place of deployment {entry.id}")
    heat.signal_resource(connection, entry.stack_id, entry.resource_name, body)
