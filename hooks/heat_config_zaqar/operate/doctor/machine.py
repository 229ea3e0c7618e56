"""Checks of the machine itself: its settings, services and disk."""

import shutil
import subprocess
from pathlib import Path

from heat_config_zaqar.errors import SettingsError
from heat_config_zaqar.operate.doctor.guest import Guest, NotChecked, Problem
from heat_config_zaqar.operate.report import State
from heat_config_zaqar.settings import load
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.identity import Standing

_SERVICES = ("os-collect-config.service", "heat-config-zaqar-deliver.timer")
_LEAST_FREE_BYTES = 16 * 1024 * 1024


def service_states() -> dict[str, str]:
    """Return what systemd says of our units (active, inactive, failed, ...); nothing without it."""
    command = ["systemctl", "is-active", *_SERVICES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    answers = done.stdout.split()
    # Without systemd as the first process it says nothing, or "offline" once.
    return dict(zip(_SERVICES, answers, strict=True)) if len(answers) == len(_SERVICES) else {}


def _settings(_: Guest) -> str:
    try:
        loaded = load()
    except SettingsError as error:
        raise Problem(str(error), "correct the file; nothing works until it can be read") from None
    if loaded.insecure:
        raise Problem("certificates are not verified", "set ca_file and remove `insecure = true`")
    return "can be read"


def _service(_: Guest) -> str:
    states = service_states()
    if not states:
        raise NotChecked("systemd does not answer")
    for unit, state in states.items():
        if state not in ("active", "activating", "reloading"):
            raise Problem(f"{unit} is {state}", f"systemctl restart {unit}; journalctl -u {unit}")
    return "os-collect-config and the delivery timer run"


def _disk(guest: Guest) -> str:
    directory = guest.settings.state_dir
    guest.report  # noqa: B018 # raises where the state is for root alone
    probe = directory / "doctor.json"
    try:
        durable.write_json(probe, "x" * 65536)
        durable.remove(probe)
        free = shutil.disk_usage(directory).free
    except OSError as error:
        advice = "make room, or make the file system writable: no result can be kept meanwhile"
        raise Problem(f"{directory} cannot be written: {error.strerror}", advice) from None
    if free < _LEAST_FREE_BYTES:
        raise Problem(f"{directory} has {free >> 20} MiB left", "make room")
    return f"{directory} can be written, {free >> 20} MiB are free"


def _state(guest: Guest) -> str:
    damaged = sorted(guest.settings.state_dir.rglob("*.corrupt"))
    damaged += [Path(row.id) for row in guest.report.rows if row.state is State.UNREADABLE]
    if damaged:
        advice = "look at the file system; delete the file when you have seen it"
        raise Problem(f"{damaged[0]} could not be read", advice)
    return f"{len(guest.report.records)} records can be read"


def _identity(guest: Guest) -> str:
    guest.report  # noqa: B018 # raises where the state is for root alone
    standing = identity.standing(guest.settings)
    if standing is Standing.STRANGER:
        advice = "hand over this server's own metadata, or call `heat-config-zaqar adopt`"
        raise Problem("the state is another machine's: this disk is a copy of its disk", advice)
    if standing is Standing.HEIR:
        advice = "systemctl restart os-collect-config, which sets that state aside"
        raise Problem("the state is another server's than the first metadata", advice)
    return "the state is this machine's"


CHECKS = (_settings, _identity, _service, _disk, _state)
