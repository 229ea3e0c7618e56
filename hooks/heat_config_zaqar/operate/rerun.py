"""rerun: run the hook of one deployment once more, now.

Invariant: a deployment without a result is run as the next os-refresh-config would run it; a new
result replaces one that never left the guest, and nothing of what Heat has.
"""

import argparse
import dataclasses
import sys
import time

from heat_config_zaqar import settings
from heat_config_zaqar.deployment import Deployment, for_its_action
from heat_config_zaqar.errors import RefusedError
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.operate.resend import require_collected, resend
from heat_config_zaqar.operate.row import Signal, is_success
from heat_config_zaqar.operate.terminal import Exit, print_outputs
from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.run.apply import apply, run_hook
from heat_config_zaqar.signal_body import STATUS_CODE, STDERR, STDOUT, Body
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.outbox import Entry, Settled, entry_for


def run(options: argparse.Namespace) -> int:
    """Run the hook, print its result, and signal that where it counts."""
    log_to_stderr()
    identity.require_ownership(settings.load())
    report = Report(settings.load())
    row = report.find(options.id)
    if report.is_applying:
        print("waiting for the os-refresh-config that runs deployments now", file=sys.stderr)
    body, is_kept = _rerun(report, report.newest(row.id))
    # The streams were on the terminal while the hook ran.
    print_outputs({name: body[name] for name in body if name not in (STDOUT, STDERR)}, row.id)
    code = body.get(STATUS_CODE)
    print(f"status code: {code}")
    now = Report(settings.load())
    if not is_kept:
        print("not signalled: Heat has the former result, or may have it")
    elif now.find(row.id).signal in (Signal.PENDING, Signal.FAILED):
        resend(now, row.id)
    return Exit.DONE if is_success(code) else Exit.TROUBLE


def _rerun(report: Report, deployment: Deployment) -> tuple[Body, bool]:
    """Return the new result, and whether it counts."""
    if not report.outbox.is_finished(deployment.id):
        require_collected(report.settings)
        apply([deployment], report.settings)
        if not report.outbox.is_finished(deployment.id):
            raise RefusedError(f"deployment {deployment.id} has nothing to run")
        now = Report(report.settings)
        return now.body(now.find(deployment.id)), True
    with durable.locked(report.settings.state_dir / "apply.lock"):
        chosen = for_its_action(deployment)
        hook = hook_runner.find(chosen.group)
        if hook is None:
            raise RefusedError(f"no hook for group {chosen.group!r} in this image")
        started = time.time()
        body = run_hook(chosen, hook, report.outbox, report.settings)
        is_kept = _replace(report, entry_for(deployment, body, 1, started))
        report.outbox.runs.end(deployment.id)
        return body, is_kept


def _replace(report: Report, new: Entry) -> bool:
    """Keep the new result where the former one never left the guest; return whether it is."""
    outbox = report.outbox
    with durable.locked(report.settings.state_dir / "deliver.lock"):
        pending, settled = outbox.find_pending(new.id), outbox.settled(new.id)
        if pending is not None and not pending.sending:
            outbox.finish(dataclasses.replace(new, attempts=pending.attempts + 1))
            return True
        if settled is not None and settled[0] is Settled.FAILED:
            note = f"{settled[1].note}; run again by the operator"
            counted = dataclasses.replace(new, attempts=settled[1].attempts + 1)
            outbox.settle(counted, Settled.FAILED, note)
            return True
    return False
