"""status: list the deployments, their states and signals."""

import argparse
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.operate.doctor import machine
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.operate.row import Row
from heat_config_zaqar.operate.terminal import Exit, duration, moment, one_line, version

_COLUMNS = ("ID", "NAME", "GROUP", "ACTION", "STATE", "CODE", "ATTEMPTS", "DURATION", "SIGNAL")


def run(options: argparse.Namespace) -> int:
    """Print a line for each deployment, or what is no secret to who may not see them."""
    try:
        report = Report(settings.load())
    except PermissionError:
        _print_public(options.json)
        raise
    shown = [row for row in report.rows if options.all or row.current or row.is_moving]
    if options.json:
        rows = [dataclasses.asdict(row) for row in shown]
        print(json.dumps({"connection": report.connection, "deployments": rows}, indent=1))
    else:
        _print_report(report, shown)
    return exit_code((row for row in shown if row.current or row.is_moving), report.has_metadata)


def exit_code(rows: Iterable[Row], has_metadata: bool) -> int:
    """Return what the exit code says of some deployments; trouble goes before "not settled"."""
    rows = list(rows)
    if any(row.is_trouble for row in rows):
        return Exit.TROUBLE
    is_moving = not has_metadata or any(row.is_moving for row in rows)
    return Exit.MOVING if is_moving else Exit.DONE


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
