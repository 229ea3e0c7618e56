"""doctor: one check after the other, in the order an operator would look.

A check returns what it saw, or raises `Problem` or `NotChecked`. To add one, write the function
and name it in `CHECKS` of its file.
Invariant: no check stops another, nor takes for ever.
"""

import argparse
import dataclasses
import enum
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from heat_config_zaqar import settings
from heat_config_zaqar.errors import HeatConfigError
from heat_config_zaqar.operate.doctor import cloud, deployments, machine
from heat_config_zaqar.operate.doctor.guest import (
    Guest,
    NotChecked,
    Problem,
)
from heat_config_zaqar.operate.report import require_access
from heat_config_zaqar.operate.terminal import Exit, one_line

# What breaks others comes first, and last what breaks nothing.
_CHECKS = (
    *machine.CHECKS,
    *deployments.FIRST_CHECKS,
    *cloud.CHECKS,
    *deployments.CHECKS,
    *machine.LAST_CHECKS,
)
# A name server that is away costs half a minute; what takes longer hangs, such as a disk.
_CHECK_SECONDS = 40
_MOST_SECONDS = 120


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


def run(options: argparse.Namespace) -> int:
    """Print what each check saw, and the first problem with what to do."""
    findings = examine()
    first = next((item for item in findings if item.result is Result.PROBLEM), None)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.result:<12} {finding.check:<12} {one_line(finding.detail)}")
        if first is not None:
            print(f"\nFirst problem: {first.check}: {one_line(first.detail)}")
            print(f"What to do: {one_line(first.advice)}")
    if first is not None:
        return Exit.TROUBLE
    # Without root's rights half of the checks could not be made.
    require_access(settings.load())
    return Exit.DONE


def examine(seconds: float | None = None) -> list[Finding]:
    """Run every check and return what each saw, in their order.

    :param seconds: after which the one that runs is left to itself, and none begins; None for the
        doctor's own patience.
    """
    guest, end = Guest(), time.monotonic() + (_MOST_SECONDS if seconds is None else seconds)
    return [_finding(check, guest, end - time.monotonic()) for check in _CHECKS]


def _finding(check: Callable[[Guest], str], guest: Guest, left: float) -> Finding:
    name = check.__name__.strip("_").replace("_", " ")
    if left <= 0:
        return Finding(name, Result.NOT_CHECKED, "the checks before it took too long")
    try:
        return Finding(name, Result.OK, _within(min(left, _CHECK_SECONDS), check, guest))
    except Problem as problem:
        return Finding(name, Result.PROBLEM, *problem.args)
    except NotChecked as reason:
        return Finding(name, Result.NOT_CHECKED, str(reason))
    except PermissionError as error:
        return Finding(name, Result.NOT_CHECKED, f"{error.filename} is for root alone")
    except (HeatConfigError, OSError) as error:
        return Finding(name, Result.PROBLEM, str(error), "see the message")
    except Exception as error:  # noqa: BLE001 # a doctor that breaks down helps nobody
        return Finding(name, Result.PROBLEM, repr(error), "a bug of heat-config-zaqar: report it")


def _within(seconds: float, check: Callable[[Guest], str], guest: Guest) -> str:
    """Return what a check saw; one that hangs in what has no timeout is left to itself."""
    future: Future[str] = Future()

    def work() -> None:
        try:
            future.set_result(check(guest))
        except BaseException as error:  # noqa: BLE001 # raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    if not wait([future], seconds).done:
        raise TimeoutError(f"did not end within {seconds:.0f} s")
    return future.result()
