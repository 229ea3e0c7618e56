"""heat-config-zaqar: what an operator in the guest, and the delivery unit, call.

Invariant: no traceback ever, whatever the state directory holds; `status`, `show` and `logs` only
read; `help_texts.EXIT_CODES` says what an exit code means.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.errors import HeatConfigError
from heat_config_zaqar.log import log_to_stderr
from heat_config_zaqar.operate.doctor import checks as doctor
from heat_config_zaqar.operate.help_texts import EXIT_CODES, HELP
from heat_config_zaqar.operate.repeat import Again
from heat_config_zaqar.operate.report import (
    NeedsRootError,
    Report,
    Row,
    Signal,
    State,
    UnknownDeploymentError,
    require_access,
)
from heat_config_zaqar.signal_body import STATUS_CODE, STDERR, STDOUT, Body
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox

_DONE, _TROUBLE, _USAGE, _MOVING, _NEEDS_ROOT, _INTERRUPTED = 0, 1, 2, 3, 4, 130
_COLUMNS = ("ID", "NAME", "GROUP", "ACTION", "STATE", "CODE", "ATTEMPTS", "DURATION", "SIGNAL")
_JOURNAL = ("journalctl", "--quiet", "--no-pager", "--output=short-iso", "--unit=os-collect-config")
_SHOWN_LINES = 20
_ONLY_FOR_MACHINES = ("current", "sending")


def main() -> int:
    """Run one subcommand; return what `help_texts.EXIT_CODES` says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a hook printed need not be text that this terminal can show.
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args()
    try:
        code = _run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who reads has seen enough; Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _DONE
    return code


def _run(options: argparse.Namespace) -> int:
    try:
        result: int = options.run(options)
    except (NeedsRootError, PermissionError) as error:
        reason = f"{error.filename} is for root alone" if isinstance(error, OSError) else error
        print(f"heat-config-zaqar: {reason}: call it with sudo", file=sys.stderr)
        return _NEEDS_ROOT
    except UnknownDeploymentError as error:
        print(f"heat-config-zaqar: {error}", file=sys.stderr)
        return _USAGE
    except BrokenPipeError:
        raise
    except (HeatConfigError, OSError) as error:
        print(f"heat-config-zaqar: {error}", file=sys.stderr)
        return _TROUBLE
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heat-config-zaqar",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Shows and steers the Heat deployments of this guest, and their signals.",
        epilog=f"{EXIT_CODES}\nWhere nothing works, begin with `heat-config-zaqar doctor`.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "status", _status, json=True).add_argument(
        "--all", action="store_true", help="earlier deployments too, which Heat's metadata has not"
    )
    _add(commands, "show", _show, of_one=True, json=True)
    _add(commands, "logs", _logs, of_one=True).add_argument(
        "-f", "--follow", action="store_true", help="go on with the journal until Ctrl-C"
    )
    _add(commands, "resend", _resend, of_one=True)
    _add(commands, "rerun", _rerun, of_one=True)
    _add(commands, "deliver", _deliver)
    _add(commands, "doctor", _doctor, json=True)
    _add(commands, "version", _version)
    return parser


def _add(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    of_one: bool = False,
    json: bool = False,
) -> argparse.ArgumentParser:
    summary, description, examples = HELP[name]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog=f"examples:\n{examples}\n\n{EXIT_CODES}",
    )
    parser.set_defaults(run=run)
    if of_one:
        parser.add_argument(
            "id",
            metavar="ID",
            help="a deployment's id, an unambiguous beginning of it, or its name",
        )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    return parser


def _version(_: argparse.Namespace) -> int:
    print(_installed_version())
    return _DONE


def _installed_version() -> str:
    return importlib.metadata.version("heat-config-zaqar-guest")


def _status(options: argparse.Namespace) -> int:
    try:
        report = Report(settings.load())
    except NeedsRootError:
        _print_public(options.json)
        raise
    shown = [row for row in report.rows if options.all or row.current or row.is_moving]
    if options.json:
        rows = [dataclasses.asdict(row) for row in shown]
        print(json.dumps({"connection": report.connection, "deployments": rows}, indent=1))
    else:
        _print_status(report, shown)
    return _code_of([row for row in shown if row.current or row.is_moving], report.has_metadata)


def _print_public(as_json: bool) -> None:
    """Print what is no secret: the version, and what systemd says of the services."""
    public = {"version": _installed_version(), "services": doctor.service_states()}
    if as_json:
        print(json.dumps(public, indent=1))
        return
    print(f"heat-config-zaqar {public['version']}")
    for unit, state in doctor.service_states().items():
        print(f"{unit}: {state}")


def _print_status(report: Report, shown: list[Row]) -> None:
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
            print(f"{short[row.id]}: {_line(row.note)}")
    if hidden := len(report.rows) - len(shown):
        print(f"{hidden} earlier: `heat-config-zaqar status --all` lists them")
    elif not shown:
        print("the metadata holds no deployment")


def _connection_line(connection: dict[str, Any]) -> str:
    line = f"connection: {connection['state']}"
    if connection["since"]:
        line += f" since {_moment(connection['since'])}"
    return _line(f"{line}: {connection['detail']}" if connection["detail"] else line)


def _cells(row: Row, short_id: str) -> tuple[str, ...]:
    code = "-" if row.status_code is None else str(row.status_code)
    texts = (short_id, row.name, row.group, row.action or "-", row.state, code)
    numbers = (str(row.attempts), _duration(row.seconds), row.signal)
    return tuple(_line(text) for text in (*texts, *numbers))


def _code_of(rows: list[Row], has_metadata: bool) -> int:
    if any(row.is_trouble for row in rows):
        return _TROUBLE
    is_moving = not has_metadata or any(row.is_moving for row in rows)
    return _MOVING if is_moving else _DONE


def _show(options: argparse.Namespace) -> int:
    report = Report(settings.load())
    row = report.find(options.id)
    details = report.details(row)
    if options.json:
        print(json.dumps(details, indent=1))
        return _code_of([row], True)
    body = details.pop("body", None)
    for key, value in details.items():
        if key not in _ONLY_FOR_MACHINES and value not in ("", None, []):
            print(f"{key.replace('_', ' ') + ':':<15} {_shown(key, value)}")
    _print_body(body if isinstance(body, dict) else {}, row.id)
    return _code_of([row], True)


def _shown(key: str, value: Any) -> str:
    if key in ("started", "finished", "settled"):
        return _moment(value) if value else "-"
    if key == "seconds":
        return _duration(value)
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return _line(str(value))


def _print_body(body: Body, config_id: str) -> None:
    for name, value in body.items():
        if name == STATUS_CODE:
            continue
        lines = value.splitlines() if isinstance(value, str) else [json.dumps(value)]
        print(f"output {_line(name)}:")
        if len(lines) > _SHOWN_LINES:
            print(
                f"    [{len(lines) - _SHOWN_LINES} lines more: heat-config-zaqar logs {config_id}]"
            )
        for line in lines[-_SHOWN_LINES:]:
            print(f"    {_line(line)}")


def _logs(options: argparse.Namespace) -> int:
    report = Report(settings.load())
    row = report.find(options.id)
    body = report.details(row).get("body")
    streams = body if isinstance(body, dict) else {}
    has_streams = any(isinstance(streams.get(name), str) for name in (STDOUT, STDERR))
    if has_streams and not options.follow:
        print(streams.get(STDOUT) or "", end="")
        print(streams.get(STDERR) or "", end="", file=sys.stderr)
        return _DONE
    if row.state is State.WAITING:
        raise UnknownDeploymentError(f"the hook of {row.name} ({row.id}) has not run yet")
    command = [*_JOURNAL, f"--since=@{int(row.started)}"]
    if options.follow:
        command.append("--follow")
    elif row.finished:
        command.append(f"--until=@{int(row.finished) + 1}")
    with contextlib.suppress(FileNotFoundError):
        return _DONE if subprocess.run(command, check=False).returncode == 0 else _TROUBLE
    raise HeatConfigError("the hook's output is in the journal, and there is no journalctl here")


def _resend(options: argparse.Namespace) -> int:
    log_to_stderr()
    current = settings.load()
    report = Report(current)
    return _sent(Again(report, report.find(options.id), current))


def _sent(again: Again) -> int:
    if again.resend():
        print("sent")
        return _DONE
    print("not sent yet; it stays pending, and the timer will try again")
    return _MOVING


def _rerun(options: argparse.Namespace) -> int:
    log_to_stderr()
    current = settings.load()
    report = Report(current)
    row = report.find(options.id)
    if durable.is_locked(current.state_dir / "apply.lock"):
        print("waiting for the os-refresh-config that runs deployments now", file=sys.stderr)
    again = Again(report, row, current)
    body, is_kept = again.rerun()
    # The streams were on the terminal while the hook ran.
    outputs = {name: body[name] for name in body if name not in (STDOUT, STDERR)}
    _print_body(outputs, row.id)
    code = body.get(STATUS_CODE)
    print(f"status code: {code}")
    if not is_kept:
        print("not signalled: Heat has the former result, or may have it")
    elif Report(current).find(row.id).signal in (Signal.PENDING, Signal.FAILED):
        _sent(again)
    return _DONE if code in (None, 0, "", "0") else _TROUBLE


def _deliver(_: argparse.Namespace) -> int:
    """Send what waits, but after a reboot not before the metadata was read again.

    A stack that was updated meanwhile would take an old signal for the new deployment's.
    """
    log_to_stderr()
    current = settings.load()
    require_access(current)
    if not current.collected_file.exists():
        print("not delivering yet: no metadata was collected since the machine started")
        return _DONE
    delivery = Delivery(Outbox(current.state_dir), current)
    delivery.supersede(MetadataStore(current.metadata_file).read().deployments)
    left = delivery.deliver_all()
    if left:
        print(f"{left} signals could not be sent yet; the timer will try again")
    return _DONE


def _doctor(options: argparse.Namespace) -> int:
    findings = doctor.examine()
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.result:<12} {finding.check:<12} {_line(finding.detail)}")
    first = next((item for item in findings if item.result is doctor.Result.PROBLEM), None)
    if first is not None:
        if not options.json:
            print(
                f"\nFirst problem: {first.check}: {_line(first.detail)}\nWhat to do: {first.advice}"
            )
        return _TROUBLE
    # Without root's rights half of the checks could not be made.
    require_access(settings.load())
    return _DONE


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return (
        f"{minutes} min {seconds % 60:.0f} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60} min"
    )


def _line(text: str) -> str:
    """Return text on one line, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


if __name__ == "__main__":
    sys.exit(main())
