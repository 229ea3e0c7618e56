"""55-heat-config: runs the deployments of the metadata, in order, and signals each result.

Invariant: each deployment that can be identified ends in exactly one result; no deployment's
trouble stops another; a failing hook is a result; two hooks never run at the same time. The exit
code is non-zero only where a result could not be made durable or a reboot is due:
os-collect-config then does not commit, and tries again or after the reboot.
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
from heat_config_zaqar.errors import (
    CorruptFileError,
    HeatConfigError,
    InvalidMetadataError,
    RebootDueError,
)
from heat_config_zaqar.hook_runner import Outcome
from heat_config_zaqar.outbox import Entry, Outbox, Run
from heat_config_zaqar.processes import end_session, identify
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_data import Body

CONFIG_FILE = "/var/run/heat-config/heat-config"
_CONFIG_VARIABLE = "HEAT_SHELL_CONFIG"
# Their content is for os-apply-config; nothing runs them, and nobody waits for their signal.
GROUPS_WITHOUT_HOOK = ("Heat::Ungrouped", "os-apply-config")
# A hook that asks for one more is not going to stop.
_MOST_REBOOTS = 5
_REBOOTS_VARIABLE = "HEAT_CONFIG_REBOOTS"

_STDERR = 2
_PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4}
_INFO_PRIORITY = 6

_LOG = logging.getLogger("55-heat-config")


def main() -> int:
    """Run what `/var/run/heat-config/heat-config` lists; `HEAT_SHELL_CONFIG` names another file."""
    log_to_stderr()
    try:
        apply(read_deployments(config_file()), settings.load())
    except RebootDueError as due:
        _LOG.warning("%s", due)
        return 1
    except (HeatConfigError, OSError) as error:
        _LOG.error("%s; os-collect-config will try again", error)
        return 1
    return 0


def config_file() -> Path:
    """Return the list of deployments that os-apply-config rendered."""
    return Path(os.environ.get(_CONFIG_VARIABLE, CONFIG_FILE))


def log_to_stderr() -> None:
    """Set up logging to standard error; in the journal, a record's level becomes its priority."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)


class _Formatter(logging.Formatter):
    """Puts the priority before each line where systemd's journal reads it (sd-daemon(3))."""

    def __init__(self, layout: str) -> None:
        super().__init__(layout)
        stream = os.fstat(_STDERR)
        # Somebody between us and the journal would show the prefix as text.
        self._is_journal = os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._is_journal:
            return text
        priority = _PRIORITIES.get(record.levelno, _INFO_PRIORITY)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


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

    :raises RebootDueError: a hook asked for a reboot; what comes after it waits for that.
    :raises OSError: a result could not be made durable.
    :raises TemporaryError: a hook of a run before cannot be ended.
    """
    outbox = Outbox(current.state_dir)
    with durable.locked(current.state_dir / "apply.lock"):
        _end_orphans(outbox)
        delivery = Delivery(outbox, current)
        delivery.supersede(deployments)
        unfinished = [item for item in deployments if not outbox.is_finished(item.id)]
        newest = outbox.newest_results() if unfinished else {}
        # While a reboot is due nothing may start: it comes first, and ends this run.
        unfinished.sort(key=lambda item: not outbox.run_of(item.id).reboot_due)
        for deployment in unfinished:
            if deployment.creation_time < newest.get(deployment.text_input("deploy_queue_id"), ""):
                _LOG.warning(
                    "deployment %s: not run, a newer config has replaced it", deployment.id
                )
            else:
                entry = _execute(deployment, outbox, current)
                if entry is not None:
                    delivery.deliver(entry.id)
        delivery.deliver_all()
        outbox.prune()


def _end_orphans(outbox: Outbox) -> None:
    """End the hooks that go on although the 55-heat-config that started them is gone."""
    for config_id, run in outbox.unfinished():
        if run.hook is not None and end_session(run.hook):
            _LOG.warning(
                "deployment %s: its hook, process %d, went on after 55-heat-config had been "
                "killed: ended",
                config_id,
                run.hook.pid,
            )


def _execute(deployment: Deployment, outbox: Outbox, current: Settings) -> Entry | None:
    """Run one deployment to its result.

    None where its group has no hook and needs none, or where its hook has signalled for itself.
    """
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
    if outbox.is_finished(deployment.id):
        # Its hook has signalled by heat-config-notify: that is the one result.
        return None
    entry = entry_for(deployment, body, outbox.run_of(deployment.id).attempts, started)
    outbox.finish(entry)
    return entry


def _run(deployment: Deployment, hook: Path | None, outbox: Outbox, current: Settings) -> Body:
    if hook is None:
        return signal_data.failure(f"no hook for group {deployment.group!r} in this image")
    run = outbox.run_of(deployment.id)
    if run.reboot_due:
        return _reboot(deployment)
    if run.interruptions >= current.max_attempts:
        return signal_data.failure(
            f"hook {deployment.group} was interrupted {run.interruptions} times, by a crash or a "
            "reboot; not tried again"
        )
    outcome = _run_hook(deployment, hook, run, outbox, current)
    has_signalled = outbox.is_finished(deployment.id)
    if outcome.returncode == hook_runner.REBOOT_CODE and not has_signalled:
        if run.reboots < _MOST_REBOOTS:
            outbox.ask_reboot(deployment.id)
            return _reboot(deployment)
        problem = f"asked for a reboot again after {run.reboots}"
        return signal_data.failure(f"hook {deployment.group} {problem}", outcome.returncode)
    return _body_of(deployment, outcome)


def run_hook(deployment: Deployment, hook: Path, current: Settings) -> Body:
    """Run a hook to its end and return the result, which is recorded nowhere.

    Its wish for a reboot is a failure: nothing would run it again afterwards.
    """
    timeout = _timeout(deployment, current)
    environment = {_REBOOTS_VARIABLE: "0"}
    outcome = hook_runner.run(hook, deployment.document, timeout, lambda _: None, environment)
    return _body_of(deployment, outcome)


def _timeout(deployment: Deployment, current: Settings) -> float:
    return current.hook_timeout if deployment.timeout is None else deployment.timeout


def _body_of(deployment: Deployment, outcome: Outcome) -> Body:
    if outcome.problem:
        stderr = f"hook {deployment.group} {outcome.problem}\n{outcome.stderr}".rstrip()
        return signal_data.failure(stderr, outcome.returncode or 1)
    return signal_data.from_hook(
        deployment.group, outcome.stdout, outcome.stderr, outcome.returncode
    )


def _run_hook(
    deployment: Deployment, hook: Path, run: Run, outbox: Outbox, current: Settings
) -> Outcome:
    timeout = _timeout(deployment, current)

    def record(pid: int) -> None:
        attempt = outbox.begin(deployment.id, deployment.name, deployment.group, identify(pid))
        _LOG.info(
            "deployment %s (%s): hook %s, attempt %d", deployment.id, deployment.name, hook, attempt
        )

    return hook_runner.run(
        hook,
        deployment.document,
        timeout,
        record,
        {_REBOOTS_VARIABLE: str(run.reboots)},
    )


def _reboot(deployment: Deployment) -> Body:
    """Reboot the machine; return the result only where it refuses.

    :raises RebootDueError: it is going to.
    """
    problem = hook_runner.reboot()
    if problem:
        return signal_data.failure(f"hook {deployment.group} asked for a reboot: {problem}")
    raise RebootDueError(
        f"deployment {deployment.id} ({deployment.name}): its hook {deployment.group} asked for a "
        "reboot, and runs again after it"
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
