"""status: list the deployments, their states and signals, now or once all is settled.

Invariant: who waits looks at the disk once a second and at the end; only what goes on without
anybody is waited for, not trouble.
"""

import argparse
import dataclasses
import json
import logging
import time
from collections.abc import Iterable
from typing import Any

from heat_config_zaqar import settings, version
from heat_config_zaqar.operate.doctor import machine
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.operate.row import Row, State
from heat_config_zaqar.operate.terminal import Exit, duration, moment, one_line
from heat_config_zaqar.settings import Settings

_COLUMNS = ("ID", "NAME", "GROUP", "ACTION", "STATE", "CODE", "ATTEMPTS", "DURATION", "SIGNAL")
_LOOK_SECONDS = 1.0


def run(options: argparse.Namespace) -> int:
    """Print a line for each deployment, or what is no secret to who may not see them."""
    try:
        report = _report(settings.load(), options.wait)
    except PermissionError:
        _print_public(options.json)
        raise
    shown = [row for row in report.rows if options.all or row.is_present]
    if options.json:
        rows = [dataclasses.asdict(row) for row in shown]
        print(json.dumps({"connection": report.connection, "deployments": rows}, indent=1))
    else:
        _print_report(report, shown)
    return exit_code((row for row in shown if row.is_present), report.has_metadata)


def exit_code(rows: Iterable[Row], has_metadata: bool) -> int:
    """Return what the exit code says of some deployments; trouble goes before "not settled"."""
    rows = list(rows)
    if any(row.is_trouble for row in rows):
        return Exit.TROUBLE
    is_moving = not has_metadata or any(row.is_moving for row in rows)
    return Exit.MOVING if is_moving else Exit.DONE


def _report(current: Settings, seconds: float) -> Report:
    """Return what is known when all is settled, or when the time is over.

    :param seconds: how long to wait, by a clock that nobody sets.
    """
    end, report, was_torn = time.monotonic() + seconds, Report(current), False
    while True:
        # A record that moves between two directories just now may look damaged, once.
        is_torn = any(row.state is State.UNREADABLE for row in report.rows)
        left = end - time.monotonic()
        if left <= 0 or not (_is_moving(report) or (is_torn and not was_torn)):
            return report
        was_torn = is_torn
        time.sleep(min(_LOOK_SECONDS, left))
        report = _look_again(current)


def _is_moving(report: Report) -> bool:
    return not report.has_metadata or any(row.is_moving for row in report.rows)


def _look_again(current: Settings) -> Report:
    """Return what is known now; what is wrong with the files was said by the first look."""
    logging.disable()
    try:
        return Report(current)
    finally:
        logging.disable(logging.NOTSET)


def _print_public(as_json: bool) -> None:
    public = {"version": version(), "services": machine.service_states()}
    if as_json:
        print(json.dumps(public, indent=1))
        return
    print(f"heat-config-zaqar {public['version']}")
    for unit, state in machine.service_states().items():
        print(f"{unit}: {state}")


def _print_report(report: Report, shown: list[Row]) -> None:
    print(_connection_line(report.connection))
    if not report.has_metadata and not shown:
        print("no metadata was received yet: `heat-config-zaqar doctor` says why")
        return
    short = report.short_ids()
    table = [_COLUMNS, *(_cells(row, short[row.id]) for row in shown)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS))]
    for line in table if shown else []:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
    for row in shown:
        if row.note:
            print(f"{short[row.id]}: {one_line(row.note)}")
    if hidden := len(report.rows) - len(shown):
        print(f"{hidden} earlier: `heat-config-zaqar status --all` lists them")
    elif not shown:
        print("the metadata holds no deployment")
        if report.is_in_doubt and not report.server_id:
            print("messages may have expired: `heat-config-zaqar doctor` says more")


def _connection_line(connection: dict[str, Any]) -> str:
    since = f" since {moment(connection['since'])}" if connection["since"] else ""
    detail = f": {connection['detail']}" if connection["detail"] else ""
    return one_line(f"connection: {connection['state']}{since}{detail}")


def _cells(row: Row, short_id: str) -> tuple[str, ...]:
    code = "-" if row.status_code is None else str(row.status_code)
    texts = (short_id, row.name, row.group, row.action or "-", row.state, code)
    numbers = (str(row.attempts), duration(row.seconds), row.signal)
    return tuple(map(one_line, (*texts, *numbers)))
