"""metrics: what `status` shows, counted in Prometheus's text format.

Invariant: no label holds what a deployment, a hook or a service said: everybody may read it.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from heat_config_zaqar import settings, version
from heat_config_zaqar.operate import files
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.operate.row import Signal, State
from heat_config_zaqar.operate.terminal import Exit

_PREFIX = "heat_config_zaqar_"
_MODE = 0o644
# What `connection` may be; another word is none of ours.
_CONNECTIONS = ("push", "polling", "away", "refused", "foreign")

Sample = tuple[str, float]


def run(options: argparse.Namespace) -> int:
    """Print the metrics, or write them to a file.

    :raises PermissionError: the caller may not see the state.
    :raises RefusedError: the file cannot be written there.
    """
    content = "".join(f"{line}\n" for line in _lines(Report(settings.load())))
    if options.file is None:
        print(content, end="")
        return Exit.DONE
    target = options.file.absolute()
    files.check(target)
    files.write(target, content.encode(), _MODE)
    return Exit.DONE


def _lines(report: Report) -> Iterator[str]:
    # An alert about a failure ends when a newer config has mended it.
    rows, now = [row for row in report.rows if row.is_present], time.time()
    states, signals = Counter(row.state for row in rows), Counter(row.signal for row in rows)
    said = report.connection["state"]
    state = said if said in _CONNECTIONS else "unknown"
    running = [row.seconds or 0.0 for row in rows if row.state is State.RUNNING]
    pending = [max(now - row.finished, 0) for row in rows if row.signal is Signal.PENDING]
    yield from _gauge("info", "The version of the package.", [(f'{{version="{version()}"}}', 1)])
    yield from _gauge(
        "connection",
        "How this guest hears of new metadata.",
        [(f'{{state="{name}"}}', name == state) for name in (*_CONNECTIONS, "unknown")],
    )
    yield from _gauge(
        "deployments",
        "Deployments that Heat's metadata holds, or that run or wait, by their state.",
        [(f'{{state="{name}"}}', states[name]) for name in State],
    )
    yield from _gauge(
        "signals",
        "Results of deployments, by how far their signal has come.",
        [(f'{{state="{name}"}}', signals[name]) for name in Signal if name is not Signal.NONE],
    )
    yield from _gauge(
        "running_seconds", "For how long the longest hook has run.", [("", max(running, default=0))]
    )
    yield from _gauge(
        "pending_seconds", "For how long the oldest signal waits.", [("", max(pending, default=0))]
    )


def _gauge(name: str, what: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {what}"
    yield f"# TYPE {_PREFIX}{name} gauge"
    for labels, value in samples:
        yield f"{_PREFIX}{name}{labels} {float(value):g}"
