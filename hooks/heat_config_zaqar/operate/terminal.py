"""What the commands share on the terminal: the exit codes, the version, and text
from elsewhere.

Invariant: nothing that a deployment, a hook or a service said can steer the terminal.
"""

import enum
import json
import time

from heat_config_zaqar.signal_body import STATUS_CODE, Body

_SHOWN_LINES = 20
EXIT_CODES = """\
exit codes:
  0    all is settled and well
  1    trouble: a deployment failed, a signal was given up, a check found a
       problem, or what was asked for was refused or did not work
  2    the command line is wrong, or no single deployment goes by that ID
  3    not settled yet: a deployment waits or runs, a signal is pending, or no
       metadata has arrived
  4    root's rights are needed
  130  interrupted by Ctrl-C
"""


class Exit(enum.IntEnum):
    """The exit codes, as `EXIT_CODES` explains them."""

    DONE = 0
    TROUBLE = 1
    USAGE = 2
    MOVING = 3
    NEEDS_ROOT = 4
    INTERRUPTED = 130


def print_outputs(body: Body, config_id: str) -> None:
    """Print each output of a result but the status code, of long ones the end."""
    for name, value in body.items():
        if name == STATUS_CODE:
            continue
        lines = value.splitlines() if isinstance(value, str) else [json.dumps(value)]
        print(f"output {one_line(name)}:")
        if hidden := len(lines[:-_SHOWN_LINES]):
            print(f"    [{hidden} lines more: heat-config-zaqar logs {config_id}]")
        for line in lines[-_SHOWN_LINES:]:
            print(f"    {one_line(line)}")


def one_line(text: str) -> str:
    """Return text on one line, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def moment(seconds: float) -> str:
    """Return a time of day; `-` for 0, which is never."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"


def duration(seconds: float | None) -> str:
    """Return a length of time for people; `-` for None."""
    if seconds is None:
        return "-"
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {seconds % 60:.0f} s" if minutes else f"{seconds:.1f} s"
