"""heat-config-zaqar: what an operator in the guest, and the delivery unit, call.

Invariant: no traceback ever; `status` only reads, the rest goes through the outbox.
"""

import argparse
import importlib.metadata
import json
import sys
import time
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.apply import log_to_stderr
from heat_config_zaqar.deliver import Delivery
from heat_config_zaqar.errors import HeatConfigError
from heat_config_zaqar.metadata_store import MetadataStore, deployments_of
from heat_config_zaqar.outbox import Outbox
from heat_config_zaqar.settings import Settings

_COLUMNS = ("id", "name", "group", "action", "state", "status code", "attempts", "seconds")


def main() -> int:
    """Run one subcommand; exit 0 for success, 1 for trouble, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="heat-config-zaqar",
        description="Heat software-config over Zaqar: state of this guest's deployments.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="list the deployments and their signals")
    status.add_argument("--json", action="store_true", help="for machines")
    commands.add_parser("deliver", help="try to send each pending signal once")
    commands.add_parser("version", help="print the version")
    options = parser.parse_args()
    try:
        if options.command == "version":
            print(importlib.metadata.version("heat-config-zaqar-guest"))
            return 0
        current = settings.load()
        if options.command == "deliver":
            return _deliver(current)
        _print_status(_rows(current), options.json)
    except PermissionError as error:
        print(f"heat-config-zaqar: {error.filename} is for root alone: try sudo", file=sys.stderr)
        return 1
    except (HeatConfigError, OSError) as error:
        print(f"heat-config-zaqar: {error}", file=sys.stderr)
        return 1
    return 0


def _deliver(current: Settings) -> int:
    """Send what waits, but after a reboot not before the metadata was read again.

    A stack that was updated meanwhile would take an old signal for the new deployment's.
    """
    log_to_stderr()
    if not current.collected_flag.exists():
        print("not delivering yet: no metadata was collected since the machine started")
        return 0
    delivery = Delivery(Outbox(current.state_dir), current)
    delivery.supersede(deployments_of(MetadataStore(current.metadata_file).load() or {}))
    left = delivery.deliver_all()
    if left:
        print(f"{left} signals could not be sent yet; the timer will try again")
    return 0


def _rows(current: Settings) -> list[dict[str, Any]]:
    rows = []
    for state, record in Outbox(current.state_dir).records():
        started = record.get("started") or 0
        finished = record.get("finished") or time.time()
        rows.append(
            {
                "id": record["id"],
                "name": record.get("name", ""),
                "group": record.get("group", ""),
                "action": record.get("action", ""),
                "state": "pending" if state == "outbox" else state,
                "status code": (record.get("body") or {}).get("deploy_status_code", ""),
                "attempts": record.get("attempts", ""),
                "seconds": round(finished - started, 1) if started else "",
                "started": started,
                "finished": record.get("finished", 0),
                "settled": record.get("settled", 0),
                "note": record.get("note", ""),
            }
        )
    return rows


def _print_status(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        print("no deployment was received yet")
        return
    table = [_COLUMNS, *(tuple(str(row[name]) for name in _COLUMNS) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    for row in rows:
        if row["note"]:
            print(f"{row['id']}: {row['note']}")


if __name__ == "__main__":
    sys.exit(main())
