"""heat-config-zaqar: what an operator in the guest, and the delivery unit, call.

Invariant: no traceback ever, whatever the state directory holds; `status`, `show` and `logs` only
read; `terminal.EXIT_CODES` says what an exit code means.
"""

import argparse
import contextlib
import io
import math
import os
import sys
from pathlib import Path

from heat_config_zaqar import version
from heat_config_zaqar.deployment import MOST_SECONDS
from heat_config_zaqar.errors import HeatConfigError
from heat_config_zaqar.operate import (
    adopt,
    clean,
    collect_logs,
    deliver,
    logs,
    metrics,
    rerun,
    resend,
    show,
    status,
)
from heat_config_zaqar.operate.doctor import examination as doctor
from heat_config_zaqar.operate.help_texts import HELP
from heat_config_zaqar.operate.report import UnknownDeploymentError
from heat_config_zaqar.operate.terminal import EXIT_CODES, Exit, one_line


def _version(_: argparse.Namespace) -> int:
    print(version())
    return Exit.DONE


_COMMANDS = {
    "status": status.run,
    "show": show.run,
    "logs": logs.run,
    "resend": resend.run,
    "rerun": rerun.run,
    "deliver": deliver.run,
    "doctor": doctor.run,
    "collect-logs": collect_logs.run,
    "metrics": metrics.run,
    "adopt": adopt.run,
    "clean": clean.run,
    "version": _version,
}
_OF_ONE = ("show", "logs", "resend", "rerun")
_WITH_JSON = ("status", "show", "doctor")


def main() -> int:
    """Run one subcommand; return what `EXIT_CODES` says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a hook printed need not be text that this terminal can show.
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args()
    try:
        code = _COMMANDS[options.command](options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Who reads has seen enough; Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except (HeatConfigError, OSError) as error:
        return _failed(error)
    return code


def _failed(error: HeatConfigError | OSError) -> int:
    reason, code = str(error), Exit.TROUBLE
    if isinstance(error, PermissionError):
        reason, code = f"{error.filename} is for root alone: call it with sudo", Exit.NEEDS_ROOT
    elif isinstance(error, UnknownDeploymentError):
        code = Exit.USAGE
    print(f"heat-config-zaqar: {one_line(reason)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heat-config-zaqar",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Shows and steers the Heat deployments of this guest, and their signals.",
        epilog=f"{EXIT_CODES}\nWhere nothing works, begin with `heat-config-zaqar doctor`.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name in _COMMANDS:
        summary, _, description = HELP[name].partition("\n\n")
        command = commands.add_parser(
            name,
            help=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            description=description,
            epilog=EXIT_CODES,
        )
        _add_arguments(command, name)
    return parser


def _add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    if name in _OF_ONE:
        of_one = "a deployment's id, an unambiguous beginning of it, or its name"
        command.add_argument("id", metavar="ID", help=of_one)
    if name in _WITH_JSON:
        command.add_argument("--json", action="store_true", help="print JSON, for machines")
    if name == "status":
        earlier = "earlier deployments too, which Heat's metadata has not"
        command.add_argument("--all", action="store_true", help=earlier)
        wait = "print it once all is settled, or so many seconds are over; for ever without them"
        command.add_argument(
            "--wait",
            metavar="SECONDS",
            nargs="?",
            type=_seconds,
            const=math.inf,
            default=0.0,
            help=wait,
        )
    if name == "collect-logs":
        where = "the archive; one here that says when, if left out"
        command.add_argument("file", metavar="FILE", nargs="?", type=Path, help=where)
    if name == "metrics":
        where = "written whole, for everybody to read; printed, if left out"
        command.add_argument("file", metavar="FILE", nargs="?", type=Path, help=where)
    if name == "clean":
        command.add_argument("--yes", action="store_true", help="do not ask")
    if name == "logs":
        follow = "go on with the journal until Ctrl-C"
        command.add_argument("-f", "--follow", action="store_true", help=follow)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 <= seconds <= MOST_SECONDS:
            return seconds
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of seconds from 0 to {MOST_SECONDS}; without one it has no end"
    )


if __name__ == "__main__":
    sys.exit(main())
