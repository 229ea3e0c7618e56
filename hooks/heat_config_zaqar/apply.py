"""55-heat-config: runs the deployments of the metadata, in order, and signals each result.

Invariant: each deployment that can be identified ends in exactly one result; no deployment's
trouble stops another; a failing hook is a result. The exit code is non-zero only where a result
could not be made durable: os-collect-config then does not commit and tries again.
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from heat_config_zaqar import durable, hook_runner, settings, signal_data
from heat_config_zaqar.deliver import Delivery
from heat_config_zaqar.deployment import Deployment, Transport, for_its_action, parse_deployment
from heat_config_zaqar.errors import CorruptFileError, HeatConfigError, InvalidMetadataError
from heat_config_zaqar.outbox import Entry, Outbox
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_data import Body

CONFIG_FILE = "/var/run/heat-config/heat-config"
_CONFIG_VARIABLE = "HEAT_SHELL_CONFIG"
# Their content is for os-apply-config; nothing runs them, and nobody waits for their signal.
GROUPS_WITHOUT_HOOK = ("Heat::Ungrouped", "os-apply-config")

_LOG = logging.getLogger("55-heat-config")


def main() -> int:
    """Run what `/var/run/heat-config/heat-config` lists; `HEAT_SHELL_CONFIG` names another file."""
    log_to_stderr()
    try:
        apply(read_deployments(config_file()), settings.load())
    except (HeatConfigError, OSError) as error:
        _LOG.error("%s; os-collect-config will try again", error)
        return 1
    return 0


def config_file() -> Path:
    """Return the list of deployments that os-apply-config rendered."""
    return Path(os.environ.get(_CONFIG_VARIABLE, CONFIG_FILE))


def log_to_stderr() -> None:
    """Set up logging for a program whose standard error goes to the journal."""
    logging.basicConfig(format="%(name)s %(levelname)s %(message)s", level=logging.INFO)


def read_deployments(path: Path) -> list[Deployment]:
    """Read the list that os-apply-config rendered; a malformed deployment is logged and left out.

    :raises CorruptFileError: the file is not a list.
    :raises OSError: it cannot be read.
    """
    documents = durable.read_json(path)
    if documents in (None, ""):
        return []
    if not isinstance(documents, list):
        raise CorruptFileError(f"{path} holds no list of deployments")
    found = []
    for document in documents:
        try:
            found.append(parse_deployment(document))
        except InvalidMetadataError as error:
            _LOG.error("ignored: %s", error)
    return found


def apply(deployments: list[Deployment], current: Settings) -> None:
    """Run each deployment that has no result, and deliver what waits.

    :raises OSError: a result could not be made durable.
    """
    outbox = Outbox(current.state_dir)
    with durable.locked(current.state_dir / "apply.lock"):
        delivery = Delivery(outbox, current)
        delivery.supersede(deployments)
        for deployment in deployments:
            if not outbox.is_finished(deployment.id):
                entry = _execute(deployment, outbox, current)
                if entry is not None:
                    delivery.deliver(entry.id)
        delivery.deliver_all()


def _execute(deployment: Deployment, outbox: Outbox, current: Settings) -> Entry | None:
    """Run one deployment to its result; None where its group has no hook and needs none."""
    started = time.time()
    try:
        chosen = for_its_action(deployment)
        hook = hook_runner.find(chosen.group)
        if hook is None and chosen.group in GROUPS_WITHOUT_HOOK:
            return None
        body = _run(chosen, hook, outbox, current)
    except InvalidMetadataError as error:
        body = signal_data.failure(str(error))
    _LOG.info(
        "deployment %s (%s): status code %s after %.2f s",
        deployment.id,
        deployment.name,
        body.get(signal_data.STATUS_CODE),
        time.time() - started,
    )
    entry = entry_for(deployment, body, outbox.attempts(deployment.id), started)
    outbox.finish(entry)
    return entry


def _run(deployment: Deployment, hook: Path | None, outbox: Outbox, current: Settings) -> Body:
    if hook is None:
        return signal_data.failure(f"no hook for group {deployment.group!r} in this image")
    attempts = outbox.attempts(deployment.id)
    if attempts >= current.max_attempts:
        return signal_data.failure(
            f"hook {deployment.group} was interrupted {attempts} times, by a crash or a reboot; "
            "not tried again"
        )
    attempt = outbox.begin(deployment.id, deployment.name, deployment.group)
    _LOG.info(
        "deployment %s (%s): hook %s, attempt %d", deployment.id, deployment.name, hook, attempt
    )
    return run_hook(deployment, hook, current)


def run_hook(deployment: Deployment, hook: Path, current: Settings) -> Body:
    """Run a hook to its end and return the result, which is recorded nowhere yet."""
    outcome = hook_runner.run(hook, deployment.document, current.hook_timeout)
    if outcome.problem:
        stderr = f"hook {deployment.group} {outcome.problem}\n{outcome.stderr}".rstrip()
        return signal_data.failure(stderr, outcome.returncode or 1)
    return signal_data.from_hook(
        deployment.group, outcome.stdout, outcome.stderr, outcome.returncode
    )


def entry_for(deployment: Deployment, body: Body, attempts: int, started: float) -> Entry:
    """Make the outbox entry of a result.

    A deployment that says nonsense about where to signal is kept with no signal, for the operator.
    """
    fields: dict[str, Any] = {"transport": Transport.NONE, "queue": "", "note": ""}
    try:
        fields = {"transport": deployment.transport, "queue": deployment.queue, "note": ""}
    except InvalidMetadataError as error:
        _LOG.error("%s; its result cannot be signalled", error)
        fields["note"] = str(error)
    login = deployment.credentials
    return Entry(
        id=deployment.id,
        name=deployment.name,
        group=deployment.group,
        action=deployment.action,
        creation_time=deployment.creation_time,
        attempts=attempts,
        started=started,
        finished=time.time(),
        url=deployment.text_input("deploy_signal_id"),
        stack_id=deployment.text_input("deploy_stack_id"),
        resource_name=deployment.text_input("deploy_resource_name"),
        credentials=login if login.auth_url and login.password else None,
        body=body,
        **fields,
    )


if __name__ == "__main__":
    sys.exit(main())
