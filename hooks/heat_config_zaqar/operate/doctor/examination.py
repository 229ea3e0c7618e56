"""doctor: one check after the other, in the order an operator would look.

A check returns what it saw, or raises `Problem` or `NotChecked`. To add one, write the function
and name it in `CHECKS` of its file.
Invariant: no check stops another.
"""

import argparse
import dataclasses
import enum
import json
from collections.abc import Callable

from heat_config_zaqar import settings
from heat_config_zaqar.errors import HeatConfigError
from heat_config_zaqar.operate.doctor import cloud, deployments, machine
from heat_config_zaqar.operate.doctor.guest import Guest, NotChecked, Problem
from heat_config_zaqar.operate.report import require_access
from heat_config_zaqar.operate.terminal import Exit, one_line

_CHECKS = (*machine.CHECKS, *deployments.CHECKS[:1], *cloud.CHECKS, *deployments.CHECKS[1:])


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
            print(f"What to do: {first.advice}")
    if first is not None:
        return Exit.TROUBLE
    # Without root's rights half of the checks could not be made.
    require_access(settings.load())
    return Exit.DONE


def examine() -> list[Finding]:
    """Run every check and return what each saw, in their order."""
    guest = Guest()
    return [_finding(check, guest) for check in _CHECKS]


def _finding(check: Callable[[Guest], str], guest: Guest) -> Finding:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        return Finding(name, Result.OK, check(guest))
    except Problem as problem:
        return Finding(name, Result.PROBLEM, *problem.args)
    except NotChecked as reason:
        return Finding(name, Result.NOT_CHECKED, str(reason))
    except PermissionError as error:
        return Finding(name, Result.NOT_CHECKED, f"{error.filename} is for root alone")
    except (HeatConfigError, OSError) as error:
        return Finding(name, Result.PROBLEM, str(error), "see the message")
