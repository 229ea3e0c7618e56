"""55-heat-config: runs the deployments of the metadata, in order, and signals each result.

Invariant: each deployment that can be identified ends in exactly one result; no deployment's
trouble stops another; a failing hook is a result; two hooks never run at the same time. The exit
code is non-zero only where a result could not be made durable or a reboot is due:
os-collect-config then does not commit, and tries again or after the reboot.
"""

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from heat_config_zaqar import events, settings, signal_body
from heat_config_zaqar.deliver.progress import Progress
from heat_config_zaqar.deployment import Deployment, Transport, for_its_action, parse_deployment
from heat_config_zaqar.errors import (
    CorruptFileError,
    HeatConfigError,
    InvalidMetadataError,
    RebootDueError,
)
from heat_config_zaqar.events import Event
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.run.outcome import Outcome, body_of
from heat_config_zaqar.run.processes import boot_id, end
from heat_config_zaqar.run.streams import Stream
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import Body
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.outbox import Outbox, entry_for
from heat_config_zaqar.state.runs import Identity, Run
from heat_config_zaqar.succession import Succession

if TYPE_CHECKING:
    from heat_config_zaqar.deliver.delivery import Delivery

CONFIG_FILE = "/var/run/heat-config/heat-config"
_CONFIG_VARIABLE = "HEAT_SHELL_CONFIG"
# What os-apply-config has done before us, by 20-os-apply-config: Heat may wait for its signal.
_APPLIED_GROUP = "os-apply-config"
# Their content is for os-apply-config; no hook runs them.
GROUPS_WITHOUT_HOOK = ("Heat::Ungrouped", _APPLIED_GROUP)
# A hook that asks for one more is not going to stop.
_MOST_REBOOTS = 5
_REBOOTS_VARIABLE = "HEAT_CONFIG_REBOOTS"

_LOG = logging.getLogger("55-heat-config")


def main() -> int:
    """Run what `/var/run/heat-config/heat-config` lists; `HEAT_SHELL_CONFIG` names another file."""
    log_to_stderr()
    try:
        current = settings.load()
        identity.require_ownership(current)
        apply(read_deployments(config_file()), current)
    except RebootDueError:
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
    # What the template makes of metadata without deployments is no JSON.
    if not path.exists() or not path.read_bytes().strip():
        return []
    documents = durable.read_json(path) or []
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
        delivery = functools.cache(lambda: _delivery()(outbox, current))
        if outbox.pending():
            delivery().supersede(deployments)
        unfinished = [item for item in deployments if not outbox.is_finished(item.id)]
        results = Succession(outbox.results() if unfinished else ())
        # While a reboot is due nothing may start: it comes first, and ends this run.
        unfinished.sort(key=lambda item: not _is_reboot_due(outbox.runs.of(item.id)))
        progress = Progress(outbox, lambda: _delivery()(outbox, current))
        progress.waits(item for item in unfinished if results.successor(item) is None)
        for deployment in unfinished:
            with events.about(deployment.id, deployment.name):
                if results.successor(deployment) is not None:
                    report = "deployment %s: not run, a newer config has replaced it"
                    _LOG.warning(report, deployment.id)
                else:
                    _execute(deployment, outbox, current, progress)
                    delivery().deliver(deployment.id)
        if outbox.pending():
            delivery().deliver_all()
        outbox.prune()


def run_hook(deployment: Deployment, hook: Path, outbox: Outbox, current: Settings) -> Body:
    """Run a hook to its end and return the result, which is recorded nowhere.

    Its start is recorded; the caller ends that record by `outbox.runs.end`, and holds the lock of
    `apply`. A wish for a reboot is a failure: nothing would run it again afterwards.

    :raises OSError: its start could not be made durable.
    :raises TemporaryError: a hook of a run before cannot be ended.
    """
    _end_orphans(outbox)
    return body_of(deployment.group, _run_recorded(deployment, hook, outbox, current))


def _delivery() -> "type[Delivery]":
    """Import what talks HTTP, most of what a run imports; no first hook waits for it."""
    from heat_config_zaqar.deliver.delivery import Delivery

    return Delivery


def _end_orphans(outbox: Outbox) -> None:
    """End the hooks that go on although the process that started them is gone."""
    for config_id, run in outbox.runs.begun():
        if run.hook is not None and end(run.hook):
            with events.about(config_id):
                _LOG.warning(
                    "deployment %s: its hook, process %d, went on after 55-heat-config had been "
                    "killed: ended",
                    config_id,
                    run.hook.pid,
                )


def _execute(deployment: Deployment, outbox: Outbox, current: Settings, progress: Progress) -> None:
    """Run one deployment to its result; there is none where its group has no hook and needs none.

    :raises: as `apply`.
    """
    started = time.time()
    try:
        body = _run(for_its_action(deployment), outbox, current, progress)
    except InvalidMetadataError as error:
        body = signal_body.failure(str(error))
    finally:
        progress.end(deployment.id)
    if body is None:
        return
    _LOG.info(
        "deployment %s (%s): status code %s after %.2f s",
        deployment.id,
        deployment.name,
        body.get(signal_body.STATUS_CODE),
        time.time() - started,
        extra=Event.HOOK_ENDED.extra,
    )
    # Where its hook has signalled by heat-config-notify, that is the one result.
    if not outbox.is_finished(deployment.id):
        attempts = outbox.runs.of(deployment.id).attempts
        outbox.finish(entry_for(deployment, body, attempts, started))
    outbox.runs.end(deployment.id)


def _run(
    deployment: Deployment, outbox: Outbox, current: Settings, progress: Progress
) -> Body | None:
    hook = hook_runner.find(deployment.group)
    run = outbox.runs.of(deployment.id)
    if hook is None:
        return _without_hook(deployment)
    if _is_reboot_due(run):
        return _reboot(deployment)
    if run.interruptions >= current.max_attempts:
        return signal_body.failure(
            f"hook {deployment.group} was interrupted {run.interruptions} times, by a crash or a "
            "reboot; not tried again"
        )
    shows_line = current.progress_line and hook_runner.logs_what_is_signalled(hook)

    def watch(log: Stream) -> None:
        attempt = run.attempts + 1
        progress.runs(
            deployment, attempt, lambda: (log.last, log.last_line() if shows_line else "")
        )

    outcome = _run_recorded(deployment, hook, outbox, current, watch)
    if outcome.returncode == hook_runner.REBOOT_CODE and not outbox.is_finished(deployment.id):
        if run.reboots < _MOST_REBOOTS:
            outbox.runs.ask_reboot(deployment.id)
            return _reboot(deployment)
        problem = f"asked for a reboot again after {run.reboots}"
        return signal_body.failure(f"hook {deployment.group} {problem}", outcome.returncode)
    return body_of(deployment.group, outcome)


def _without_hook(deployment: Deployment) -> Body | None:
    if deployment.group not in GROUPS_WITHOUT_HOOK:
        return signal_body.failure(f"no hook for group {deployment.group!r} in this image")
    if deployment.group == _APPLIED_GROUP and deployment.transport is not Transport.NONE:
        return {signal_body.STDOUT: "", signal_body.STDERR: "", signal_body.STATUS_CODE: 0}
    return None


def _run_recorded(
    deployment: Deployment,
    hook: Path,
    outbox: Outbox,
    current: Settings,
    watch: Callable[[Stream], object] = id,
) -> Outcome:
    """Run a hook, whose start is on disk before it does anything."""

    def record(leader: Identity) -> None:
        attempt = outbox.runs.begin(deployment.id, deployment.name, deployment.group, leader)
        _LOG.info(
            "deployment %s (%s): hook %s, attempt %d",
            deployment.id,
            deployment.name,
            hook,
            attempt,
            extra=Event.HOOK_STARTED.extra,
        )
        threading.Thread(target=_delivery).start()

    timeout = current.hook_timeout if deployment.timeout is None else deployment.timeout
    reboots = {_REBOOTS_VARIABLE: str(outbox.runs.of(deployment.id).reboots)}
    return hook_runner.run(hook, deployment.document, timeout, record, reboots, watch)


def _is_reboot_due(run: Run) -> bool:
    return run.asked_reboot and run.hook is not None and run.hook.boot == boot_id()


def _reboot(deployment: Deployment) -> Body:
    """Reboot the machine; return the result only where it refuses.

    :raises RebootDueError: it is going to.
    """
    problem = hook_runner.reboot()
    if problem:
        return signal_body.failure(f"hook {deployment.group} asked for a reboot: {problem}")
    due = RebootDueError(
        f"deployment {deployment.id} ({deployment.name}): its hook {deployment.group} asked for a "
        "reboot, and runs again after it"
    )
    _LOG.warning("%s", due)
    raise due


if __name__ == "__main__":
    sys.exit(main())
