"""Once more, on the operator's wish: a signal that was given up, or a hook.

Invariant: nothing here posts to a signal queue what Heat may have had already, or no longer waits
for: the message would stay there and complete the next stack update with outdated outputs. A
signal that was given up goes through Heat's own API instead, which ignores a deployment that is
not in progress, and only while Heat still has this config for the deployment.
"""

import dataclasses
import json
import time

from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import Deployment, Transport, for_its_action
from heat_config_zaqar.errors import RefusedError
from heat_config_zaqar.operate.report import Report, Row
from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.run.apply import apply, run_hook
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import DEFAULT_LIMIT_BYTES, Body, fit
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Entry, Outbox, Settled, entry_for
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


class Again:
    """What may be repeated for one deployment.

    :param row: the deployment, of the report.
    """

    def __init__(self, report: Report, row: Row, settings: Settings) -> None:
        self._report = report
        self._id = row.id
        server = MetadataStore(settings.metadata_file).read().login
        ca_file = (server[0].ca_file if server else "") or settings.ca_file
        self._settings = dataclasses.replace(settings, ca_file=ca_file)
        self._outbox = Outbox(settings.state_dir)
        self._deliver_lock = settings.state_dir / "deliver.lock"

    def resend(self) -> bool:
        """Signal a result whose signal was given up or waits; return whether it was sent.

        One that waits is only tried at once: it is still on its way.

        :raises RefusedError: it has no result yet, Heat has the signal, or it is out of date.
        :raises TemporaryError, PermanentError: it could not be sent, and stays given up.
        """
        if self._outbox.find_pending(self._id) is not None:
            return self._deliver()
        with durable.locked(self._deliver_lock):
            found = self._outbox.settled(self._id)
            if found is None:
                raise RefusedError(f"deployment {self._id} has no result yet")
            where, entry = found
            if entry.transport is Transport.NONE:
                reason = entry.note or "it asked for no signal"
                raise RefusedError(f"deployment {self._id} has nowhere to signal to: {reason}")
            if where is not Settled.FAILED:
                raise RefusedError(f"deployment {self._id} is {where}: {_REASONS[where]}")
            self._signal(entry, self._newest())
            self._outbox.redeem(entry, "sent again by the operator")
        return True

    def rerun(self) -> tuple[Body, bool]:
        """Run the hook once more, now; return its result, and whether that counts now.

        A deployment without a result is run as the next os-refresh-config would run it. The new
        result replaces one that never left; what Heat has is not changed.

        :raises RefusedError: its config is not known any more, or a newer one took its place.
        :raises OSError: the result could not be made durable.
        """
        deployment = self._newest()
        if not self._outbox.is_finished(self._id):
            self._require_collected()
            apply([deployment], self._settings)
            return self._result(), True
        with durable.locked(self._settings.state_dir / "apply.lock"):
            chosen = for_its_action(deployment)
            hook = hook_runner.find(chosen.group)
            if hook is None:
                raise RefusedError(f"no hook for group {chosen.group!r} in this image")
            started = time.time()
            body = run_hook(chosen, hook, self._settings)
            return body, self._replace(entry_for(deployment, body, 1, started))

    def _require_collected(self) -> None:
        if not self._settings.collected_file.exists():
            raise RefusedError(
                "no metadata was collected since the machine started: the stack may have been "
                "updated meanwhile, and Heat would take an old signal for the new config's"
            )

    def _deliver(self) -> bool:
        self._require_collected()
        delivery = Delivery(self._outbox, self._settings)
        delivery.supersede(self._report.deployments.values())
        delivery.deliver(self._id)
        settled = self._outbox.settled(self._id)
        if settled is not None and settled[0] is not Settled.DELIVERED:
            raise RefusedError(f"deployment {self._id} is {settled[0]}: {settled[1].note}")
        return settled is not None

    def _replace(self, entry: Entry) -> bool:
        """Keep the new result where the former one never left the guest; return whether it is."""
        with durable.locked(self._deliver_lock):
            pending = self._outbox.find_pending(self._id)
            settled = self._outbox.settled(self._id)
            if pending is not None and not pending.sending:
                self._outbox.finish(dataclasses.replace(entry, attempts=pending.attempts + 1))
                return True
            if settled is not None and settled[0] is Settled.FAILED:
                attempts = settled[1].attempts + 1
                note = f"{settled[1].note}; run again by the operator"
                self._outbox.settle(
                    dataclasses.replace(entry, attempts=attempts), Settled.FAILED, note
                )
                return True
        return False

    def _result(self) -> Body:
        pending = self._outbox.find_pending(self._id)
        settled = self._outbox.settled(self._id)
        if pending is None and settled is None:
            raise RefusedError(f"deployment {self._id} has nothing to run")
        return pending.body if pending else settled[1].body if settled else {}

    def _newest(self) -> Deployment:
        """Return the deployment, if it is the newest config of its resource that is known here."""
        deployment = self._report.deployments.get(self._id)
        if deployment is None:
            raise RefusedError(f"the metadata of this server no longer holds deployment {self._id}")
        newer = self._report.succession.successor(deployment)
        if newer is not None:
            raise RefusedError(f"deployment {self._id} is out of date: {newer.id} took its place")
        return deployment

    def _signal(self, entry: Entry, deployment: Deployment) -> None:
        body = fit(entry.body, DEFAULT_LIMIT_BYTES)
        if entry.transport in (Transport.CFN, Transport.TEMP_URL):
            method = "PUT" if entry.transport is Transport.TEMP_URL else "POST"
            url = deployment.text_input("deploy_signal_id")
            send_presigned(method, url, json.dumps(body), self._settings)
            return
        connection = Connection(deployment.credentials, self._settings)
        answer = heat.deployments_of_server(connection, deployment.text_input("deploy_server_id"))
        known = {item.id: item for item in deployments_of({"deployments": answer})}
        if entry.id not in known or Succession(known.values()).successor(deployment) is not None:
            raise RefusedError(f"Heat has a newer config in place of deployment {entry.id}")
        heat.signal_resource(connection, entry.stack_id, entry.resource_name, body)
