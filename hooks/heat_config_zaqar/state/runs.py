"""Hooks that were started and have no result yet: one file `running/ID.json` for each deployment.

Invariant: a hook is recorded here before it does anything, with the process that it is, so that
what a crash leaves behind can be found and ended, and each start counts.
"""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.state import durable


@dataclasses.dataclass(frozen=True)
class Identity:
    """A process, once and for all: its pid alone may have been given to somebody else since.

    :ivar boot: the id of the boot that it runs in.
    :ivar started: its start in clock ticks since the boot.
    """

    boot: str
    pid: int
    started: int


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a deployment that has no result yet.

    :ivar attempts: how often its hook was started.
    :ivar reboots: how often the hook asked for a reboot, and so was not interrupted.
    :ivar asked_reboot: the last one that was started asked for one.
    :ivar hook: the last hook that was started.
    """

    attempts: int = 0
    reboots: int = 0
    asked_reboot: bool = False
    hook: Identity | None = None

    @property
    def interruptions(self) -> int:
        """How often a crash or a reboot that it did not ask for ended the hook."""
        return self.attempts - self.reboots


class Runs:
    """The records in one directory.

    :param directory: made when first needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def of(self, config_id: str) -> Run:
        """Return what is known of a deployment; a record that cannot be read counts as one attempt.

        :raises OSError: the state directory cannot be read.
        """
        try:
            record = durable.read_json(self.path(config_id))
            if record is None:
                return Run()
            hook = Identity(record["boot"], record["pid"], record["pid_started"])
            return Run(int(record["attempts"]), int(record["reboots"]), record["reboot_due"], hook)
        except (CorruptFileError, TypeError, KeyError, ValueError):
            return Run(attempts=1)

    def begun(self) -> Iterator[tuple[str, Run]]:
        """Yield config id and run of each deployment whose hook was started.

        :raises OSError: the state directory cannot be read.
        """
        for path in durable.files(self._directory):
            yield path.stem, self.of(path.stem)

    def begin(self, config_id: str, name: str, group: str, hook: Identity) -> int:
        """Record that a hook is about to start; return the number of this attempt, from 1.

        :raises OSError: the state directory cannot be written.
        """
        run = self.of(config_id)
        record = {
            "name": name,
            "group": group,
            "started": time.time(),
            "attempts": run.attempts + 1,
            "reboots": run.reboots,
            "reboot_due": False,
            "boot": hook.boot,
            "pid": hook.pid,
            "pid_started": hook.started,
        }
        durable.write_json(self.path(config_id), record)
        return run.attempts + 1

    def ask_reboot(self, config_id: str) -> None:
        """Record that the hook that was begun wants a reboot, and to be run again after it.

        :raises CorruptFileError, OSError: the state directory cannot be read or written.
        """
        path = self.path(config_id)
        record = durable.read_json(path)
        reboots = record["reboots"] + 1
        durable.write_json(path, {**record, "reboots": reboots, "reboot_due": True})

    def end(self, config_id: str) -> None:
        """Forget a run, since it has a result.

        :raises OSError: the state directory cannot be written.
        """
        durable.remove(self.path(config_id))

    def path(self, config_id: str) -> Path:
        """Return where the record of a deployment lies."""
        return self._directory / f"{config_id}.json"
