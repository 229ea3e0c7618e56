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

from heat_config_zaqar import settings, signal_body
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import Deployment, for_its_action, parse_deployment
from heat_config_zaqar.errors import (
    CorruptFileError,
    HeatConfigError,
    InvalidMetadataError,
    RebootDueError,
)
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.run.hook_runner import Outcome
from heat_config_zaqar.run.processes import boot_id, end_session, identify
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import Body
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Entry, Outbox, entry_for
from heat_config_zaqar.state.runs import Run
from heat_config_zaqar.succession import Succession

CONFIG_FILE = "/var/run/heat-config/heat-config"
_CONFIG_VARIABLE = "HEAT_SHELL_CONFIG"
# Their content is for os-apply-config; nothing runs them, and nobody waits for their signal.
GROUPS_WITHOUT_HOOK = ("Heat::Ungrouped", "os-apply-config")
# A hook that asks for one more is not going to stop.
_MOST_REBOOTS = 5
_REBOOTS_VARIABLE = "HEAT_CONFIG_REBOOTS"

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
        results = Succession(outbox.results() if unfinished else ())
        # While a reboot is due nothing may start: it comes first, and ends this run.
        unfinished.sort(key=lambda item: not _is_reboot_due(outbox.runs.of(item.id)))
        for deployment in unfinished:
            if results.successor(deployment) is not None:
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
        body = signal_body.failure(str(error))
    _LOG.info(
        "deployment %s (%s): status code %s after %.2f s",
        deployment.id,
        deployment.name,
        body.get(signal_body.STATUS_CODE),
        time.time() - started,
    )
    if outbox.is_finished(deployment.id):
        # Its hook has signalled by heat-config-notify: that is the one result.
        return None
    entry = entry_for(deployment, body, outbox.runs.of(deployment.id).attempts, started)
    outbox.finish(entry)
    return entry


def _run(deployment: Deployment, hook: Path | None, outbox: Outbox, current: Settings) -> Body:
    if hook is None:
        return signal_body.failure(f"no hook for group {deployment.group!r} in this image")
    run = outbox.runs.of(deployment.id)
    if _is_reboot_due(run):
        return _reboot(deployment)
    if run.interruptions >= current.max_attempts:
        return signal_body.failure(
            f"hook {deployment.group} was interrupted {run.interruptions} times, by a crash or a "
            "reboot; not tried again"
        )
    outcome = _run_hook(deployment, hook, run, outbox, current)
    has_signalled = outbox.is_finished(deployment.id)
    if outcome.returncode == hook_runner.REBOOT_CODE and not has_signalled:
        if run.reboots < _MOST_REBOOTS:
            outbox.runs.ask_reboot(deployment.id)
            return _reboot(deployment)
        problem = f"asked for a reboot again after {run.reboots}"
        return signal_body.failure(f"hook {deployment.group} {problem}", outcome.returncode)
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
        return signal_body.failure(stderr, outcome.returncode or 1)
    return signal_body.from_hook(
        deployment.group, outcome.stdout, outcome.stderr, outcome.returncode
    )


def _run_hook(
    deployment: Deployment, hook: Path, run: Run, outbox: Outbox, current: Settings
) -> Outcome:
    timeout = _timeout(deployment, current)

    def record(pid: int) -> None:
        attempt = outbox.runs.begin(deployment.id, deployment.name, deployment.group, identify(pid))
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


def _is_reboot_due(run: Run) -> bool:
    return run.asked_reboot and run.hook is not None and run.hook.boot == boot_id()


def _reboot(deployment: Deployment) -> Body:
    """Reboot the machine; return the result only where it refuses.

    :raises RebootDueError: it is going to.
    """
    problem = hook_runner.reboot()
    if problem:
        return signal_body.failure(f"hook {deployment.group} asked for a reboot: {problem}")
    raise RebootDueError(
        f"deployment {deployment.id} ({deployment.name}): its hook {deployment.group} asked for a "
        "reboot, and runs again after it"
    )


if __name__ == "__main__":
    sys.exit(main())
