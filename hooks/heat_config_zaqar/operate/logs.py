"""logs: print what the hook of one deployment printed."""

import argparse
import contextlib
import subprocess
import sys

from heat_config_zaqar import settings
from heat_config_zaqar.errors import HeatConfigError
from heat_config_zaqar.operate.report import Report, UnknownDeploymentError
from heat_config_zaqar.operate.row import Row, State
from heat_config_zaqar.operate.terminal import Exit
from heat_config_zaqar.signal_body import STDERR, STDOUT

_JOURNAL = ("journalctl", "--quiet", "--no-pager", "--output=short-iso", "--unit=os-collect-config")


def run(options: argparse.Namespace) -> int:
    """Print the streams of the result, or the journal where there are none."""
    report = Report(settings.load())
    row = report.find(options.id)
    streams = report.body(row)
    has_streams = any(isinstance(streams.get(name), str) for name in (STDOUT, STDERR))
    if has_streams and not options.follow:
        print(streams.get(STDOUT) or "", end="")
        print(streams.get(STDERR) or "", end="", file=sys.stderr)
        return Exit.DONE
    if row.state in (State.WAITING, State.NO_HOOK):
        raise UnknownDeploymentError(f"the hook of {row.name} ({row.id}) has not run yet")
    return _journal(row, options.follow)


def _journal(row: Row, follow: bool) -> int:
    command = [*_JOURNAL, f"--since=@{int(row.started)}"]
    if follow:
        command.append("--follow")
    elif row.finished:
        command.append(f"--until=@{int(row.finished) + 1}")
    with contextlib.suppress(FileNotFoundError):
        done = subprocess.run(command, check=False)
        return Exit.TROUBLE if done.returncode else Exit.DONE
    raise HeatConfigError("the hook's output is in the journal, and there is no journalctl here")
