"""A guest whose processes are forked from this warm one, each killed or not at a named step.

Invariant: a run's whole effect is on disk and in the cloud; two guests share nothing.
"""

import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from keystoneclient.access import AccessInfo  # type: ignore[import-untyped]  # ships no types
from os_collect_config import collect, keystone

from heat_config_zaqar.collect import launcher
from heat_config_zaqar.deployment import parse_credentials
from heat_config_zaqar.operate import cli
from heat_config_zaqar.run import apply, processes
from heat_config_zaqar.settings import SETTINGS_VARIABLE, Settings
from heat_config_zaqar.state import durable, identity, outbox
from heat_config_zaqar.state import entry as entries
from heat_config_zaqar.wire.session import Connection
from tests.chaos.disk import Journal
from tests.chaos.hostile import PRINTS
from tests.chaos.steps import Steps

_ENTRIES: dict[str, tuple[Callable[[], int], list[str]]] = {
    "collect": (launcher.main, ["heat-config-zaqar-collect", "--one-time"]),
    "print": (launcher.main, ["heat-config-zaqar-collect", "--print"]),
    "one-time": (launcher.main, ["heat-config-zaqar-collect", "--one-time", "--command", ":"]),
    "service": (launcher.main, ["heat-config-zaqar-collect", "--command", ":"]),
    "apply": (apply.main, ["55-heat-config"]),
    "deliver": (cli.main, ["heat-config-zaqar", "deliver"]),
    "rerun": (cli.main, ["heat-config-zaqar", "rerun"]),
}
_COLLECTING = ("collect", "print", "one-time", "service")
# Something failed, and was said: that is no crash. What `rerun` may say, its help has.
_CODES = {"rerun": (0, 1, 2, 3)}
# Their standard output is the metadata itself.
_SHOW_SECRETS = ("collect", "print")
_LONGEST_SECONDS = 90
# One API process, which carries out nothing late, and no minute to wait for it.
_LATE_SECONDS = 0
# What a copy of the disk has; the rest of a guest's directory is in memory, or the tests' own.
_DISK = ("state", "cache", "cache-backup", "os-collect-config.conf")
MAX_ATTEMPTS = 4
# Few, so that histories come by the removal of old records.
_KEPT_RECORDS = 2
# Built-ins alone, so that it costs one process. `$$` is what a power cut has to end. Another hook
# that runs at the start is known by its pid and its start time, the 22nd field.
_HOOK = """#!/bin/sh
begun() {
    state= ticks=
    read -r _ _ state _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ ticks _ 2>/dev/null <"/proc/$1/stat"
}
IFS= read -r document
id=${document#*\\"id\\": \\"}
id=${id%%\\"*}
# Whoever started it was killed before it could say what to do.
[ "$id" ] || exit 1
prints=
case $document in
*\\"prints\\":*) prints=${document#*\\"prints\\": \\"}; prints=${prints%%\\"*} ;;
esac
read -r other since <DIRECTORY/running-hook
if [ "$other" ] && begun "$other" && [ "$ticks" = "$since" ] && [ "$state" != Z ]; then
    echo "beside $id $other" >>DIRECTORY/runs
fi
begun $$
echo "$$ $ticks" >DIRECTORY/running-hook
echo "start $id $$" >>DIRECTORY/runs
COMMAND
echo "end $id $$" >>DIRECTORY/runs
echo >DIRECTORY/running-hook
printf '{"result": "%s"' "$id $$"
[ -z "$prints" ] || cat "DIRECTORY/prints/$prints"
echo "}"
"""


class Clock:
    """What `time.time` says in a guest's processes.

    :ivar ahead: seconds; negative where it is behind.
    :ivar steps: seconds by which it steps once more after so many looks.
    """

    def __init__(self) -> None:
        self.ahead = 0.0
        self.steps = (0.0, 0)

    def install(self) -> None:
        """Set this process's clock, for the rest of its life."""
        now = time.time
        looks = count()

        def wrong() -> float:
            by, after = self.steps
            return now() + self.ahead + by * (next(looks) >= after)

        if self.ahead or self.steps[0]:
            time.time = wrong


class Guest:
    """One guest in a directory of its own.

    :param section: its login and queue.
    :param token: a login's state as keystoneauth keeps it, so that not every guest needs an own.
    :param settings: that differ from those of all guests here.
    """

    def __init__(
        self, directory: Path, section: dict[str, str], token: str, **settings: object
    ) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.troubles: list[str] = []
        self.clock = Clock()
        # Where a disk fault is on, 55-heat-config says so by its exit code.
        self.may_fail = False
        self.runs_file = directory / "runs"
        self.runs_file.touch()
        (directory / "running-hook").touch()
        self._config = directory / "heat-config"
        self._log = directory / "log"
        self._section = section
        self._token = token
        self._boots = 0
        self._journal = Journal(self.state, directory / "journal")
        self._machine = directory / "machine"
        self._machine.write_text(str(uuid.uuid4()))
        self._first_metadata = directory / "cfn-init-data"
        self._write_settings({"request_timeout": 60, "max_attempts": MAX_ATTEMPTS} | settings)
        self.collect_from("zaqar", section)
        (directory / "prints").mkdir()
        for name, text in PRINTS.items():
            (directory / "prints" / name).write_text(text)
        self._write_program("systemctl", f"#!/bin/sh\n: >{shlex.quote(str(self._wish))}\n")
        self.set_hook(":")
        self.give_token()

    def set_hook(self, command: str) -> None:
        """Set what each hook does from now on; `$id` is the config's."""
        text = _HOOK.replace("DIRECTORY", shlex.quote(str(self.directory)))
        self._write_program("script", text.replace("COMMAND", command))

    def collect_from(self, source: str, section: dict[str, str]) -> None:
        """Set where the metadata comes from: one of os-collect-config's collectors."""
        self._source = source
        options = [f"{key} = {value.replace('$', '$$')}" for key, value in section.items()]
        cache = self.directory / "cache"
        text = ["[DEFAULT]", f"cachedir = {cache}", f"backup_cachedir = {cache}-backup"]
        conf = "\n".join([*text, f"[{source}]", *options, ""])
        (self.directory / "os-collect-config.conf").write_text(conf)

    def give_token(self) -> None:
        """Put a token where a login would leave it."""
        durable.write_json(self._token_path, self._token)

    def start(self, entry: str, armed: str = "", *arguments: str) -> int:
        """Fork a process that runs one of the guest's programs; return its pid."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._run(entry, armed, arguments)
        return pid

    def wait(self, entry: str, pid: int, ended_by: int = 0) -> str:
        """Wait for a process; return the step at which it was killed, empty where it was not.

        :param ended_by: a signal that it was sent, and that may have ended it.
        """
        deadline = time.monotonic() + _LONGEST_SECONDS
        pause = 0.001
        while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                self.troubles.append(f"hung: {entry} takes over {_LONGEST_SECONDS} s")
                os.kill(pid, signal.SIGKILL)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        code = os.waitstatus_to_exitcode(found[1])
        mark = self._mark(pid)
        if code == -signal.SIGKILL and mark.exists():
            step = mark.read_text()
            mark.unlink()
            return step
        # What a signal has ended may have come to any step, as with a kill.
        if not self.may_fail and not (ended_by and code == -ended_by):
            left = self._journal.pending(pid)
            self.troubles += [f"unsynced: {entry}: {change}" for change in left]
        if code not in (*_CODES.get(entry, (0, 1)), -ended_by):
            self.troubles.append(f"crash: {entry} ended with {code}, see {self._log}")
        if code == 0 and entry == "collect":
            self._render()
        elif code != 0 and entry == "apply" and not (self.may_fail or self.wants_reboot):
            self.troubles.append(f"crash: 55-heat-config ended with {code}, see {self._log}")
        return ""

    def run(self, entry: str, armed: str = "") -> str:
        """Run one program to its end, or to its kill; return the step of the kill."""
        return self.wait(entry, self.start(entry, armed))

    @property
    def wants_reboot(self) -> bool:
        """Whether 55-heat-config has asked for a reboot since the last one."""
        return self._wish.exists()

    def reboot(self) -> None:
        """Restart the machine; none of the guest's programs may be running but hooks."""
        self._kill_hooks()
        self._boots += 1
        self._wish.unlink(missing_ok=True)
        shutil.rmtree(self.directory / "run", ignore_errors=True)
        self._config.unlink(missing_ok=True)

    def cut_power(self, random: Random) -> int:
        """Restart the machine, and lose what was not fsynced; return how many changes."""
        self._kill_hooks()
        lost = self._journal.lose(random)
        self.reboot()
        return lost

    def hand_over(self, metadata: dict[str, Any], machine: str = "") -> None:
        """Hand this machine its first metadata, as Heat's user-data does.

        :param machine: its id of Nova, from now on.
        """
        self._first_metadata.write_text(json.dumps(metadata))
        self._machine.write_text(machine or self._machine.read_text())

    def keep_disk(self, kept: Path) -> None:
        """Copy the disk as it is to a new place."""
        kept.mkdir()
        for name in _DISK:
            _copy(self.directory / name, kept / name)
        (kept / "lines").write_text(str(len(self.runs())))

    def put_disk_back(self, kept: Path, random: Random) -> None:
        """Cut the power, and give the machine the disk that it had; what it did since is lost."""
        self.cut_power(random)
        self.take_disk(kept)
        known = int((kept / "lines").read_text())
        lines = self.runs_file.read_text().splitlines(keepends=True)
        lost = [line if line.startswith("beside") else f"lost-{line}" for line in lines[known:]]
        self.runs_file.write_text("".join([*lines[:known], *lost]))

    def take_disk(self, kept: Path) -> None:
        """Have a copied disk from now on."""
        for name in _DISK:
            if (self.directory / name).is_dir():
                shutil.rmtree(self.directory / name)
            _copy(kept / name, self.directory / name)

    def output(self) -> str:
        """Return all that the programs wrote, but for metadata that somebody asked for."""
        written = [self._log, *self.directory.glob("*.out")]
        shown = [path for path in written if path.stem not in _SHOW_SECRETS]
        return "".join(path.read_text(errors="replace") for path in shown if path.exists())

    def connection(self) -> str:
        """Return what the service says of its way to the metadata."""
        with suppress(FileNotFoundError, ValueError):
            said = json.loads((self.directory / "run" / "connection.json").read_text())
            return str(said["state"])
        return ""

    def has_received(self, text: str) -> bool:
        """Whether the stored metadata holds a text."""
        with suppress(FileNotFoundError):
            return text in (self.state / "metadata.json").read_text()
        return False

    def runs(self) -> list[tuple[str, str, int]]:
        """Return what hooks did, in order: (start, end or beside, config id, pid).

        `beside` is a start while the hook with that pid was running; `lost-start` and `lost-end`
        are of what the disk has lost since.
        """
        lines = [line.split() for line in self.runs_file.read_text().splitlines()]
        return [(what, config, int(pid)) for what, config, pid in lines]

    def states(self) -> dict[str, list[str]]:
        """Return in which directories of the state each config id has a file."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.state.glob("*/*.json")):
            config = path.stem
            with suppress(ValueError, AttributeError):
                # Not every id can be the name of a file.
                config = json.loads(path.read_text()).get("id", config)
            found.setdefault(config, []).append(path.parent.name)
        return found

    @property
    def _token_path(self) -> Path:
        login, _ = parse_credentials(self._section) or (None, "")
        assert login
        return Connection(login, Settings(runtime_dir=self.directory / "run"))._token_file

    @property
    def _wish(self) -> Path:
        return self.directory / "reboot-wanted"

    def _write_program(self, name: str, text: str) -> None:
        """Write a hook, or what stands for a program of the machine."""
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        path = programs / f"{name}.new"
        path.write_text(text)
        path.chmod(0o755)
        path.rename(programs / name)

    def _mark(self, pid: int) -> Path:
        """Where a process that kills itself says at which step."""
        return self.directory / f"killed-{pid}"

    def _kill_hooks(self) -> None:
        lines = Counter(pid for what, _, pid in self.runs() if what != "beside")
        for pid in (pid for pid, number in lines.items() if number % 2):
            with suppress(OSError):
                if str(self.directory) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.killpg(os.getpgid(pid), signal.SIGKILL)

    def _render(self) -> None:
        """Write what os-apply-config makes of the collected metadata: the last one has its way."""
        with suppress(FileNotFoundError, ValueError):
            found = json.loads((self.directory / "collect.out").read_text())
            listed = [
                content["deployments"]
                for content in found.values()
                if isinstance(content, dict) and content.get("deployments") is not None
            ]
            if listed:
                self._config.write_text(json.dumps(listed[-1]))

    def _run(self, entry: str, armed: str, more: tuple[str, ...]) -> NoReturn:
        code = 70
        try:
            os.setsid()
            main, arguments = _ENTRIES[entry]
            if entry in _COLLECTING:
                more = ("--config-file", str(self.directory / "os-collect-config.conf"))
                # The file of a login that is forgotten has these as built; what comes last counts.
                cache = str(self.directory / "cache")
                more += ("--cachedir", cache, "--backup-cachedir", f"{cache}-backup")
                more += ("--command", "") if entry == "collect" else ()
                more += (self._source,)
            self._redirect(entry)
            # Whoever forked us may have read a configuration of its own.
            collect.CONF.reset()
            sys.argv = [*arguments, *more]
            os.environ[SETTINGS_VARIABLE] = str(self.directory / "settings.toml")
            programs = str(self.directory / "programs")
            os.environ["HEAT_CONFIG_HOOKS"] = programs
            os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
            os.environ["HEAT_SHELL_CONFIG"] = str(self._config)
            outbox._KEPT_PER_RESOURCE = _KEPT_RECORDS
            entries._LATE_SECONDS = _LATE_SECONDS
            none = self.directory / "none"
            identity._MACHINE_FILES = (self._machine, none, none)
            identity._CONTAINER = none
            for module in (processes, apply):
                vars(module)["boot_id"] = lambda: str(self._boots)
            if self._source == "heat" and self._token_path.exists():
                # What os-collect-config caches itself needs an endpoint that few clouds have.
                keystone.Keystone.client = self._access_info()
            self.clock.install()
            self._journal.install()
            Steps(armed, self._mark(os.getpid())).install()
            code = main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 # this process ends here whatever it was
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _redirect(self, entry: str) -> None:
        out = os.open(self.directory / f"{entry}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(log, 2)
        # Not the objects of whoever forked us: pytest's write elsewhere.
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        logging.getLogger().handlers.clear()

    def _write_settings(self, settings: dict[str, object]) -> None:
        places = {
            "state_dir": self.state,
            "runtime_dir": self.directory / "run",
            "first_metadata": self._first_metadata,
            "conf_file": self.directory / "os-collect-config.conf",
            "cache_dir": self.directory / "cache",
        }
        lines = [f'{name} = "{path}"' for name, path in places.items()]
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (self.directory / "settings.toml").write_text("\n".join(lines))

    def _access_info(self) -> AccessInfo:
        """Return the token for os-collect-config's collector `heat`, which never keeps one."""
        state = json.loads(json.loads(self._token_path.read_text()))
        return AccessInfo.factory(body=state["body"], auth_token=state["auth_token"])


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)
