"""Checks of what came in, what became of it, and what has to go out."""

import time

from heat_config_zaqar.operate.doctor import guest as first
from heat_config_zaqar.operate.doctor.guest import Guest, NotChecked, Problem
from heat_config_zaqar.operate.report import Row, Signal, State

_STUCK_SECONDS = 3600
# The delivery timer tries each half minute: what is older has been refused or found nobody.
_LATE_SIGNAL_SECONDS = 90


def _metadata(guest: Guest) -> str:
    report, at = guest.report, guest.report.stored.current_at
    if report.has_metadata:
        since = f"complete {_ago(at)}" if at else "which may be incomplete"
        return f"{len(report.deployments)} deployments, {since}"
    try:
        guest.login  # noqa: B018 # of the first metadata
    except NotChecked as unknown:
        advice = f"hand the server's metadata over in {first.FIRST_METADATA}, as the README says"
        raise Problem(f"no metadata was ever received, and {unknown}", advice) from None
    advice = "look at the checks below; journalctl -u os-collect-config"
    raise Problem("no message was received yet", advice)


def _collector(guest: Guest) -> str:
    said = guest.report.connection
    if said["state"] == "unknown":
        raise NotChecked("os-collect-config has not said anything since the machine started")
    detail = " ".join(filter(None, (said["state"], said["detail"], _ago(said["since"]))))
    if said["state"] in ("away", "refused"):
        raise Problem(detail, "look at the checks above; journalctl -u os-collect-config")
    return detail


def _hooks(guest: Guest) -> str:
    limit = guest.settings.hook_timeout or _STUCK_SECONDS
    for row in guest.report.rows:
        if row.state is State.RUNNING and (row.seconds or 0) > limit:
            detail = f"{_named(row)} has run for {row.seconds:.0f} s"
            advice = f"heat-config-zaqar logs {row.id}; end its process if it hangs, or set a limit"
            raise Problem(detail, f"{advice}: hook_timeout in /etc/heat-config-zaqar.toml")
        if row.state is State.INTERRUPTED:
            again = f"heat-config-zaqar rerun {row.id}"
            advice = f"it runs again with the next os-refresh-config; {again}"
            raise Problem(f"{_named(row)} was interrupted", advice)
    running = sum(row.state is State.RUNNING for row in guest.report.rows)
    return f"{running} run, none of them too long"


def _signals(guest: Guest) -> str:
    for row in guest.report.rows:
        if row.signal is Signal.FAILED and row.current:
            advice = f"heat-config-zaqar resend {row.id}, once the reason is gone"
            raise Problem(f"signal of {_named(row)} was given up: {row.note}", advice)
    pending = [row for row in guest.report.rows if row.signal is Signal.PENDING]
    late = [row for row in pending if time.time() - row.finished > _LATE_SIGNAL_SECONDS]
    if late:
        detail = f"{len(late)} cannot be sent, the first is of {_named(late[0])}"
        advice = "it is sent when the checks above are ok; heat-config-zaqar deliver tries at once"
        raise Problem(detail, advice)
    return f"{len(pending)} wait to be sent"


def _named(row: Row) -> str:
    return f"{row.name} ({row.id})"


def _ago(moment: float) -> str:
    return f"{max(time.time() - moment, 0):.0f} s ago" if moment else ""


CHECKS = (_metadata, _collector, _hooks, _signals)
