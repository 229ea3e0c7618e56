"""show: print all that is known of one deployment."""

import argparse
import json
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.operate.status import exit_code
from heat_config_zaqar.operate.terminal import duration, moment, one_line, print_outputs

_ONLY_FOR_MACHINES = ("current", "sending", "sent_at", "body")


def run(options: argparse.Namespace) -> int:
    """Print what is recorded and what the metadata says, but no secret."""
    report = Report(settings.load())
    row = report.find(options.id)
    details = report.details(row)
    if options.json:
        print(json.dumps(details, indent=1))
        return exit_code([row], True)
    for key, value in details.items():
        if key not in _ONLY_FOR_MACHINES and value not in ("", None, []):
            print(f"{one_line(key.replace('_', ' ')) + ':':<15} {_shown(key, value)}")
    print_outputs(report.body(row), row.id)
    return exit_code([row], True)


def _shown(key: str, value: Any) -> str:
    if key in ("started", "finished", "settled"):
        return moment(value)
    if key == "seconds":
        return duration(value)
    return one_line(", ".join(map(str, value)) if isinstance(value, list) else str(value))
