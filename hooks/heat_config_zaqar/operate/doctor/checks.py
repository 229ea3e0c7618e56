"""Finds what is wrong with a guest: one check after the other, in the order an operator would look.

A check returns what it saw, or raises `_Problem` with what to do, or `_NotChecked` where an earlier
problem leaves nothing to look at. To add one, write the function and name it in `_CHECKS`.
Invariant: changes nothing but a probe file and a login of its own that is forgotten; no check stops
another; nothing secret is shown.
"""

import contextlib
import dataclasses
import enum
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from heat_config_zaqar import settings
from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import (
    CorruptFileError,
    HeatConfigError,
    SettingsError,
    UnauthorizedError,
)
from heat_config_zaqar.operate.doctor.reach import Reach, reach
from heat_config_zaqar.operate.report import NeedsRootError, Report, Row, Signal, State
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import login_of
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

SERVICES = ("os-collect-config.service", "heat-config-zaqar-deliver.timer")
# Where Heat's user-data leaves the first metadata, before any message.
FIRST_METADATA = Path("/var/lib/heat-cfntools/cfn-init-data")
_LEAST_FREE_BYTES = 16 * 1024 * 1024
# Tokens and certificates are judged by the clock; a minute is more than a healthy NTP leaves.
_CLOCK_SECONDS = 60
_STUCK_SECONDS = 3600
# The delivery timer tries each half minute: what is older has been refused or found nobody.
_LATE_SIGNAL_SECONDS = 90
# Heat's own post fails when the metadata of a server has grown to the queue's limit.
_FULL_SHARE = 0.8


class Result(enum.StrEnum):
    """What came of a check."""

    OK = "ok"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check saw, and what to do about it where that is a problem."""

    check: str
    result: Result
    detail: str
    advice: str = ""


class _Problem(Exception):  # noqa: N818 # a finding, not a failure of the doctor
    def __init__(self, detail: str, advice: str) -> None:
        super().__init__(detail)
        self.advice = advice


class _NotChecked(Exception):  # noqa: N818
    pass


def examine() -> list[Finding]:
    """Run every check and return what each saw, in their order."""
    with tempfile.TemporaryDirectory() as forgotten:
        guest = _Guest(Path(forgotten))
        return [_finding(name, check, guest) for name, check in _CHECKS]


def service_states() -> dict[str, str]:
    """Return what systemd says of our units (active, inactive, failed, ...); nothing without it."""
    try:
        done = subprocess.run(
            ["systemctl", "is-active", *SERVICES],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    answers = done.stdout.split()
    # Without systemd as the first process it says nothing, or "offline" once.
    return dict(zip(SERVICES, answers, strict=True)) if len(answers) == len(SERVICES) else {}


def _finding(name: str, check: "Callable[[_Guest], str]", guest: "_Guest") -> Finding:
    try:
        return Finding(name, Result.OK, check(guest))
    except _Problem as problem:
        return Finding(name, Result.PROBLEM, str(problem), problem.advice)
    except _NotChecked as reason:
        return Finding(name, Result.NOT_CHECKED, str(reason))
    except NeedsRootError as error:
        return Finding(name, Result.NOT_CHECKED, str(error))
    except (HeatConfigError, OSError) as error:
        return Finding(name, Result.PROBLEM, str(error), "see the message")


class _Guest:
    """What the checks share; each thing is looked up once, when the first check needs it."""

    def __init__(self, forgotten: Path) -> None:
        self._forgotten = forgotten

    @cached_property
    def settings(self) -> Settings:
        try:
            return settings.load()
        except SettingsError:
            raise _NotChecked("the settings cannot be read") from None

    @cached_property
    def report(self) -> Report:
        return Report(self.settings)

    @cached_property
    def login(self) -> tuple[Credentials, str]:
        """The server's login and metadata queue, of the stored metadata or the first one."""
        self.report  # noqa: B018 # raises where the state is for root alone
        known = MetadataStore(self.settings.metadata_file).read().login or _first_login()
        if known is None:
            raise _NotChecked("no login is known")
        return known

    @cached_property
    def keystone(self) -> Reach:
        return reach(self.login[0].auth_url, self.settings, self.login[0])

    @cached_property
    def connection(self) -> Connection:
        """A connection with a token of its own: a stored one would hide a wrong password."""
        way = self.keystone
        if way.name or way.connection or way.certificate:
            raise _NotChecked("Keystone cannot be reached")
        own = dataclasses.replace(self.settings, runtime_dir=self._forgotten)
        return Connection(self.login[0], own)

    @cached_property
    def refusal(self) -> HeatConfigError | None:
        """Why Keystone does not let the server's user in; None where it does."""
        connection = self.connection
        try:
            connection.token()
        except HeatConfigError as error:
            return error
        return None

    @property
    def catalog(self) -> Connection:
        """The connection, once it has logged in."""
        if self.refusal is not None:
            raise _NotChecked("there is no Keystone token")
        return self.connection


def _check_settings(_: _Guest) -> str:
    try:
        loaded = settings.load()
    except SettingsError as error:
        raise _Problem(str(error), "correct the file; nothing works until it can be read") from None
    if loaded.insecure:
        raise _Problem("certificates are not verified", "set ca_file and remove `insecure = true`")
    return "can be read"


def _check_service(_: _Guest) -> str:
    states = service_states()
    if not states:
        raise _NotChecked("systemd does not answer")
    for unit, state in states.items():
        if state not in ("active", "activating", "reloading"):
            raise _Problem(f"{unit} is {state}", f"systemctl restart {unit}; journalctl -u {unit}")
    return "os-collect-config and the delivery timer run"


def _check_disk(guest: _Guest) -> str:
    directory = guest.settings.state_dir
    guest.report  # noqa: B018 # raises where the state is for root alone
    probe = directory / "doctor.json"
    try:
        durable.write_json(probe, "x" * 65536)
        durable.remove(probe)
        free = shutil.disk_usage(directory).free
    except OSError as error:
        advice = "make room, or make the file system writable: no result can be kept meanwhile"
        raise _Problem(f"{directory} cannot be written: {error.strerror}", advice) from None
    if free < _LEAST_FREE_BYTES:
        raise _Problem(f"{directory} has {free >> 20} MiB left", "make room")
    return f"{directory} can be written, {free >> 20} MiB are free"


def _check_state(guest: _Guest) -> str:
    damaged = sorted(guest.settings.state_dir.rglob("*.corrupt"))
    damaged += [Path(row.id) for row in guest.report.rows if row.state is State.UNREADABLE]
    if damaged:
        advice = "look at the file system; delete the file when you have seen it"
        raise _Problem(f"{damaged[0]} could not be read", advice)
    return f"{len(guest.report.records)} records can be read"


def _check_metadata(guest: _Guest) -> str:
    report = guest.report
    if report.has_metadata:
        at = MetadataStore(guest.settings.metadata_file).read().current_at
        since = f", complete {_ago(time.time() - at)}" if at else ", which may be incomplete"
        return f"{len(report.deployments)} deployments{since}"
    if _first_login() is None:
        advice = f"hand the server's metadata over in {FIRST_METADATA}, as the README says"
        raise _Problem("no metadata was ever received, and no login is known", advice)
    advice = "look at the checks below; journalctl -u os-collect-config"
    raise _Problem("no message was received yet", advice)


def _check_name(guest: _Guest) -> str:
    way = guest.keystone
    if way.name:
        raise _Problem(f"{way.address}: {way.name}", "look at /etc/resolv.conf and the network")
    return f"{way.address} resolves"


def _check_connection(guest: _Guest) -> str:
    way = guest.keystone
    if way.name:
        raise _NotChecked("the name does not resolve")
    if way.connection:
        advice = "look at the route, the firewall, and whether Keystone runs"
        raise _Problem(f"{way.address}: {way.connection}", advice)
    return f"{way.address} accepts connections"


def _check_clock(guest: _Guest) -> str:
    ahead = guest.keystone.clock_ahead
    if ahead is None:
        raise _NotChecked("Keystone did not say what time it is")
    if abs(ahead) > _CLOCK_SECONDS:
        side = "ahead of" if ahead > 0 else "behind"
        advice = "set the clock, and look at chrony or systemd-timesyncd"
        raise _Problem(f"the clock is {abs(ahead):.0f} s {side} Keystone's", advice)
    return f"within {max(abs(ahead), 1):.0f} s of Keystone's"


def _check_certificate(guest: _Guest) -> str:
    way = guest.keystone
    if way.name or way.connection:
        raise _NotChecked("Keystone cannot be reached")
    if way.certificate:
        advice = "put the CA of the cloud into ca_file of /etc/heat-config-zaqar.toml"
        raise _Problem(f"{way.address}: {way.certificate}", advice)
    is_plain = guest.login[0].auth_url.startswith("http:")
    return "not used: the address is http" if is_plain else "trusted"


def _check_keystone(guest: _Guest) -> str:
    if isinstance(guest.refusal, UnauthorizedError):
        advice = "was the stack deleted? otherwise hand the server's metadata over once more"
        raise _Problem(str(guest.refusal), advice)
    if guest.refusal is not None:
        raise _Problem(str(guest.refusal), "Keystone itself is in trouble: tell its operator")
    return "accepts the login"


def _check_queue(guest: _Guest) -> str:
    queue = Queue(guest.catalog, guest.login[1])
    try:
        waiting = len(queue.messages())
    except HeatConfigError as error:
        detail = _why_unreachable(guest, "messaging") or str(error)
        raise _Problem(detail, "is Zaqar in the catalog, running and reachable?") from None
    return f"{queue.name} can be read, {waiting} messages wait"


def _check_size(guest: _Guest) -> str:
    try:
        limit = Queue(guest.catalog, guest.login[1]).largest_post()
    except HeatConfigError:
        raise _NotChecked("the queue cannot be read") from None
    stored = MetadataStore(guest.settings.metadata_file).read().snapshot or {}
    size = len(json.dumps(stored))
    detail = f"the metadata takes {size} of {limit} bytes"
    if size > limit * _FULL_SHARE:
        advice = "raise max_messages_post_size of Zaqar: above it Heat cannot post the metadata"
        raise _Problem(detail, advice)
    return detail


def _check_heat(guest: _Guest) -> str:
    servers = [item.text_input("deploy_server_id") for item in guest.report.deployments.values()]
    server_id = next(filter(None, servers), "")
    if not server_id:
        raise _NotChecked("no deployment says which server this is")
    try:
        known = len(heat.deployments_of_server(guest.catalog, server_id))
    except HeatConfigError as error:
        detail = _why_unreachable(guest, "orchestration") or str(error)
        advice = (
            "make Heat's API reachable: the guest asks it when messages or signals are in doubt"
        )
        raise _Problem(detail, advice) from None
    return f"answers; it has {known} deployments for this server"


def _check_collector(guest: _Guest) -> str:
    said = guest.report.connection
    if said["state"] == "unknown":
        raise _NotChecked("os-collect-config has not said anything since the machine started")
    detail = " ".join(filter(None, (said["state"], said["detail"], _ago_since(said["since"]))))
    if said["state"] in ("away", "refused"):
        raise _Problem(detail, "look at the checks above; journalctl -u os-collect-config")
    return detail


def _check_hooks(guest: _Guest) -> str:
    limit = guest.settings.hook_timeout or _STUCK_SECONDS
    for row in guest.report.rows:
        if row.state is State.RUNNING and (row.seconds or 0) > limit:
            detail = f"{_named(row)} has run for {row.seconds:.0f} s"
            advice = f"heat-config-zaqar logs {row.id}; end its process if it hangs, or set a limit"
            raise _Problem(detail, f"{advice}: hook_timeout in /etc/heat-config-zaqar.toml")
        if row.state is State.INTERRUPTED:
            advice = (
                f"it runs again with the next os-refresh-config; heat-config-zaqar rerun {row.id}"
            )
            raise _Problem(f"{_named(row)} was interrupted", advice)
    running = sum(row.state is State.RUNNING for row in guest.report.rows)
    return f"{running} run, none of them too long"


def _check_signals(guest: _Guest) -> str:
    for row in guest.report.rows:
        if row.signal is Signal.FAILED and row.current:
            advice = f"heat-config-zaqar resend {row.id}, once the reason is gone"
            raise _Problem(f"signal of {_named(row)} was given up: {row.note}", advice)
    pending = [row for row in guest.report.rows if row.signal is Signal.PENDING]
    late = [row for row in pending if time.time() - row.finished > _LATE_SIGNAL_SECONDS]
    if late:
        detail = f"{len(late)} cannot be sent, the first is of {_named(late[0])}"
        advice = "it is sent when the checks above are ok; heat-config-zaqar deliver tries at once"
        raise _Problem(detail, advice)
    return f"{len(pending)} wait to be sent"


_CHECKS: tuple[tuple[str, Callable[[_Guest], str]], ...] = (
    ("settings", _check_settings),
    ("service", _check_service),
    ("disk", _check_disk),
    ("state", _check_state),
    ("metadata", _check_metadata),
    ("name", _check_name),
    ("connection", _check_connection),
    ("clock", _check_clock),
    ("certificate", _check_certificate),
    ("keystone", _check_keystone),
    ("queue", _check_queue),
    ("size limit", _check_size),
    ("heat", _check_heat),
    ("collector", _check_collector),
    ("hooks", _check_hooks),
    ("signals", _check_signals),
)


def _first_login() -> tuple[Credentials, str] | None:
    with contextlib.suppress(CorruptFileError, OSError):
        first = durable.read_json(FIRST_METADATA)
        return login_of(first) if isinstance(first, dict) else None
    return None


def _why_unreachable(guest: _Guest, service: str) -> str:
    """Return the step on the way to a service that fails, if one does: it says most."""
    try:
        url = guest.catalog.endpoint(service)
    except HeatConfigError:
        return ""
    way = reach(url, guest.settings, guest.login[0]) if url else Reach("")
    reason = way.name or way.connection or way.certificate
    return f"{way.address}: {reason}" if reason else ""


def _named(row: Row) -> str:
    return f"{row.name} ({row.id})"


def _ago_since(moment: float) -> str:
    return _ago(time.time() - moment) if moment else ""


def _ago(seconds: float) -> str:
    return f"{max(seconds, 0):.0f} s ago"
