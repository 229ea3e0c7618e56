"""Checks of what came in, what became of it, and what has to go out."""

import contextlib
import time
from urllib.parse import urlsplit

from heat_config_zaqar.operate.doctor import guest as places
from heat_config_zaqar.operate.doctor.guest import Guest, NotChecked, Problem
from heat_config_zaqar.operate.row import Row, Signal, State
from heat_config_zaqar.snapshot import SECTION

_STUCK_SECONDS = 3600
_LOGIN_KEYS = ("auth_url", "user_id", "project_id", "password", "queue_id")
# The delivery timer tries each half minute: what is older has been refused or found nobody.
_LATE_SIGNAL_SECONDS = 90


def _metadata(guest: Guest) -> str:
    report = guest.report
    try:
        url = guest.login[0].auth_url
    except NotChecked:
        advice = f"hand the server's metadata over in {places.FIRST_METADATA}, as the README says"
        raise Problem(_what_lacks(guest), advice) from None
    if not _is_address(url):
        raise Problem(f"the metadata's auth_url is no http address: {url}", "tell Heat's operator")
    if not report.has_metadata:
        return "none yet but the first login"
    is_known = report.complete_at and not report.is_in_doubt
    since = f"complete {_ago(report.complete_at)}" if is_known else "which may be incomplete"
    return f"{len(report.deployments)} deployments, {since}"


def _is_address(url: str) -> bool:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    return False


def _what_lacks(guest: Guest) -> str:
    for snapshot in (guest.report.stored.snapshot or {}, guest.first_metadata):
        section = snapshot.get(SECTION)
        login = section.get("zaqar") if isinstance(section, dict) else None
        if isinstance(login, dict):
            missing = [key for key in _LOGIN_KEYS if not login.get(key)] or ["a usable value"]
            return f"{SECTION}.zaqar of the metadata lacks {', '.join(missing)}"
    return "no metadata was ever received, and no login is known"


def _collector(guest: Guest) -> str:
    said = guest.report.connection
    detail = " ".join(filter(None, (said["state"], said["detail"], _ago(said["since"]))))
    if said["state"] in ("away", "refused"):
        raise Problem(detail, "look at the checks above; journalctl -u os-collect-config")
    if not guest.report.has_metadata:
        advice = "journalctl -u os-collect-config; does the stack still exist? update it"
        raise Problem("no message was received yet", advice)
    if said["state"] == "unknown":
        raise NotChecked("os-collect-config has not said anything since the machine started")
    return detail


def _hooks(guest: Guest) -> str:
    for item in guest.report.deployments.values():
        group = guest.report.missing_hook(item)
        if group:
            advice = f"build the image with the element of that hook, such as heat-config-{group}"
            raise Problem(f"no hook for group {group!r} of {item.name} ({item.id})", advice)
    limit = min(guest.settings.hook_timeout or _STUCK_SECONDS, _STUCK_SECONDS)
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
    # One that seems to come from the future waits since before the clock was set back.
    late = [row for row in pending if not 0 <= time.time() - row.finished < _LATE_SIGNAL_SECONDS]
    if late:
        detail = f"{len(late)} cannot be sent, the first is of {_named(late[0])}"
        advice = "it is sent when the checks above are ok; heat-config-zaqar deliver tries at once"
        raise Problem(detail, advice)
    return f"{len(pending)} wait to be sent"


def _named(row: Row) -> str:
    return f"{row.name} ({row.id})"


def _ago(moment: float) -> str:
    return f"{max(time.time() - moment, 0):.0f} s ago" if moment else ""


FIRST_CHECKS = (_metadata,)
CHECKS = (_collector, _hooks, _signals)
