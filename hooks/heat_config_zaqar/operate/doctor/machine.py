"""Checks of the machine itself: its settings, disk, files and services."""

import configparser
import contextlib
import shutil
import subprocess
import time
from pathlib import Path

from heat_config_zaqar.errors import CorruptFileError, SettingsError
from heat_config_zaqar.operate.doctor import guest as places
from heat_config_zaqar.operate.doctor.guest import Guest, NotChecked, Problem
from heat_config_zaqar.operate.report import require_access
from heat_config_zaqar.operate.row import State
from heat_config_zaqar.settings import load
from heat_config_zaqar.snapshot import SECTION
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.identity import Standing

_SERVICES = ("os-collect-config.service", "heat-config-zaqar-deliver.timer")
_PROPERTIES = "ActiveState,NRestarts,ActiveEnterTimestampMonotonic"
# systemd starts ours again after 5 s; one that dies later than this had done some work.
_MOST_RESTARTS = 3
_CRASH_SECONDS = 300
_LEAST_FREE_BYTES = 16 * 1024 * 1024


def service_states() -> dict[str, str]:
    """Return what systemd says of our units (active, inactive, failed, ...); nothing without it."""
    return {unit: known.get("ActiveState", "unknown") for unit, known in _units().items()}


def _units() -> dict[str, dict[str, str]]:
    """Return the properties of each of our units; nothing where systemd does not answer."""
    command = ["systemctl", "show", f"--property={_PROPERTIES}", *_SERVICES]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    blocks = done.stdout.decode(errors="replace").strip().split("\n\n")
    if done.returncode or len(blocks) != len(_SERVICES):
        return {}
    lines = [[line.partition("=") for line in block.splitlines()] for block in blocks]
    return {
        unit: {key: value for key, _, value in known}
        for unit, known in zip(_SERVICES, lines, strict=True)
    }


def _settings(_: Guest) -> str:
    try:
        load()
    except SettingsError as error:
        raise Problem(str(error), "correct the file; nothing works until it can be read") from None
    return "can be read"


def _disk(guest: Guest) -> str:
    directory = guest.settings.state_dir
    require_access(guest.settings)
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
    damaged = [Path(row.id) for row in guest.report.rows if row.state is State.UNREADABLE]
    damaged += sorted(guest.settings.state_dir.rglob("*.corrupt"))
    if damaged:
        advice = "look at the file system; delete the file when you have seen it"
        raise Problem(f"{damaged[0]} could not be read", advice)
    return f"{len(guest.report.records)} records can be read"


def _identity(guest: Guest) -> str:
    require_access(guest.settings)
    standing = identity.standing(guest.settings)
    if standing is Standing.STRANGER:
        advice = "hand over this server's own metadata, or call `heat-config-zaqar adopt`"
        raise Problem("the state is another machine's: this disk is a copy of its disk", advice)
    if standing is Standing.HEIR:
        advice = "systemctl restart os-collect-config, which sets that state aside"
        raise Problem("the state is another server's than the first metadata", advice)
    return "the state is this machine's"


def _cache(guest: Guest) -> str:
    """What os-collect-config compares with: it dies of what it cannot read."""
    require_access(guest.settings)
    found = sorted(places.CACHE_DIRECTORY.glob("*.json.last"))
    for path in found:
        try:
            durable.read_json(path)
        except (CorruptFileError, OSError) as error:
            raise Problem(str(error), f"rm {path}; it is written again") from None
    return f"{len(found)} files can be read"


def _conf(guest: Guest) -> str:
    """What os-apply-config makes of the metadata, and os-collect-config reads."""
    section = (guest.report.stored.snapshot or {}).get(SECTION)
    known = section.get("zaqar") if isinstance(section, dict) else None
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        if not parser.read(places.CONFIG_FILE, encoding="utf-8"):
            raise NotChecked(f"there is no {places.CONFIG_FILE}")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise Problem(" ".join(str(error).split()), "os-apply-config writes it again") from None
    said = dict(parser["zaqar"]) if parser.has_section("zaqar") else {}
    wanted = known if isinstance(known, dict) else {}
    missing = sorted(key for key, value in wanted.items() if value and not said.get(key))
    if missing:
        what = f"key {missing[0]} in [zaqar]" if said else "section [zaqar]"
        advice = "os-refresh-config writes it again; journalctl -u os-collect-config"
        raise Problem(f"{places.CONFIG_FILE} has no {what}, which the metadata has", advice)
    return f"{places.CONFIG_FILE} holds what the metadata says"


def _service(_: Guest) -> str:
    units = _units()
    if not units:
        raise NotChecked("systemd does not answer")
    for unit, known in units.items():
        restarts = known.get("NRestarts", "")
        if restarts.isdecimal() and int(restarts) >= _MOST_RESTARTS and _is_new(known):
            advice = f"journalctl -u {unit} says why"
            raise Problem(f"{unit} ends and is restarted, {restarts} times by now", advice)
        state = known.get("ActiveState", "unknown")
        if state not in ("active", "activating", "reloading"):
            raise Problem(f"{unit} is {state}", f"systemctl restart {unit}; journalctl -u {unit}")
    return "os-collect-config and the delivery timer run"


def _is_new(known: dict[str, str]) -> bool:
    with contextlib.suppress(ValueError):
        entered = int(known.get("ActiveEnterTimestampMonotonic", "")) / 1e6
        return time.clock_gettime(time.CLOCK_MONOTONIC) - entered < _CRASH_SECONDS
    return False


def _insecure(guest: Guest) -> str:
    if guest.settings.insecure:
        raise Problem("certificates are not verified", "set ca_file and remove `insecure = true`")
    return "certificates are verified"


CHECKS = (_settings, _identity, _disk, _state, _cache, _conf, _service)
LAST_CHECKS = (_insecure,)
