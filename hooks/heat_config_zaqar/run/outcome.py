"""What came of a hook, and the body of the signal that says so.

Owns what a hook's output means: a map of outputs as JSON, or else text, as for upstream.
Invariant: whatever a hook prints becomes a body; one that fails is never told as a success.
"""

import contextlib
import json
import re
from typing import NamedTuple

from heat_config_zaqar.run.streams import end_of
from heat_config_zaqar.signal_body import STATUS_CODE, STDERR, STDOUT, Body, unusable

# Of text; no queue takes more.
_KEPT_BYTES = 1024 * 1024
_STATUS = re.compile(rb'"deploy_status_code": ?"?(-?\d{1,9})')


class Outcome(NamedTuple):
    """What came of a hook.

    :ivar start: the first few thousand bytes that it printed.
    :ivar end: the end of what it printed, or all of it.
    :ivar cut: how many bytes came before the end.
    :ivar log: the end of what it logged.
    :ivar returncode: its exit code; negative for the signal that killed it.
    :ivar problem: why it could not be run to its end, empty where it was.
    """

    start: bytes = b""
    end: bytes | bytearray = b""
    cut: int = 0
    log: str = ""
    returncode: int = 1
    problem: str = ""


def body_of(hook: str, outcome: Outcome) -> Body:
    """Return the body of the signal.

    :param hook: the hook's name, for the reason of a failure.
    """
    body, problem = _printed(outcome)
    code = outcome.returncode
    if outcome.problem:
        problem = outcome.problem
    elif code < 0:
        problem = f"was killed by signal {-code}"
    elif code > 0 and not _is_failure(body[STATUS_CODE]):
        problem = f"exited with {code}"
    if not problem:
        return body
    log = body.get(STDERR) or outcome.log
    reason = f"hook {hook} {problem}\n{log}".rstrip()
    return {STDOUT: "", **body, STDERR: reason, STATUS_CODE: code or 1}


def _is_failure(code: object) -> bool:
    """Whether Heat takes a status code for a failure."""
    return bool(code) and str(code) != "0"


def _printed(outcome: Outcome) -> tuple[Body, str]:
    """Return the body that a hook has printed, and why there is none to be used."""
    text = outcome.end.decode("utf-8", "replace")
    problem = ""
    # heat-agents' docker-cmd prints what docker says, and then its outputs in one line.
    for part in (text, text.rstrip().rpartition("\n")[2]):
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(part)
            problem = problem or (unusable(body) if isinstance(body, dict) else "")
            if isinstance(body, dict) and not problem:
                return {STATUS_CODE: 0, **body}, ""
    stdout = end_of(outcome.end, _KEPT_BYTES, outcome.cut)
    body = {STDOUT: stdout, STDERR: outcome.log, STATUS_CODE: _status_in(outcome)}
    return body, problem and f"printed JSON that {problem}"


def _status_in(outcome: Outcome) -> int:
    """Return the status code in JSON that was too much to be kept; 0 where it has none."""
    known = outcome.start + outcome.end if outcome.cut else b""
    return next((int(code) for code in _STATUS.findall(known) if int(code)), 0)
