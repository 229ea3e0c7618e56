"""Guests as real processes, ours and upstream's, each with all its files in a directory of its own.

Invariant: both kinds are started alike, by upstream's own configuration file and command line, and
differ only in whose programs they run and in the settings that the kind names.
"""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from heat_config_zaqar.settings import SETTINGS_VARIABLE
from tests.bench import ours, upstream
from tests.bench.control_plane import cpu_of_session, memory_of_session
from tests.bench.servers import Metadata

# What a trivial hook costs is no matter of the one that calls it; it says when it ended.
_TRIVIAL_HOOK = "#!/bin/sh\ncat >/dev/null\necho '{}'\ndate +%s.%N >>\"$BENCH_HOOK_ENDS\"\n"
TRIVIAL_GROUP = "trivial"


@dataclass(frozen=True)
class Kind:
    """A way to take metadata.

    :param name: for tables and the plot.
    :param push: by WebSocket; else by polling.
    :param settles: seconds after which a started agent's backoff has grown to its cap.
    :param pause: least and most seconds between two deliveries; longer than the longest interval
        between two polls, and than the time for which an agent polls more often after a change.
    """

    name: str
    is_upstream: bool
    push: bool
    settles: float
    pause: tuple[float, float]


KINDS = (
    Kind("ours, WebSocket", False, True, 75, (31, 75)),
    Kind("ours, polling", False, False, 95, (85, 115)),
    Kind("upstream, WebSocket", True, True, 40, (31, 75)),
    Kind("upstream, polling", True, False, 40, (31, 75)),
)


class Guest:
    """One guest; nothing of it runs before `start`.

    :param directory: where its files lie; a new one.
    :param runtime: where what /run holds in a guest lies; a new directory in memory.
    """

    def __init__(self, kind: Kind, directory: Path, runtime: Path, metadata: Metadata) -> None:
        self.kind = kind
        self.directory = directory
        self.runtime = runtime
        self.log = directory / "agent.log"
        self.rendered = directory / "rendered" / "var/run/heat-config/heat-config"
        self._process: subprocess.Popen[bytes] | None = None
        self._hooks = directory / "hooks"
        self._hooks.mkdir(parents=True)
        (directory / "rendered").mkdir()
        settings = settings_text(directory / "state", runtime, kind.push)
        (directory / "settings.toml").write_text(settings)
        self._write_hooks()
        self._metadata = metadata

    @property
    def environment(self) -> dict[str, str]:
        """What its programs find in their environment."""
        deployed = self.directory / "deployed"
        own = {SETTINGS_VARIABLE: str(self.directory / "settings.toml")}
        theirs = {
            "HEAT_CONFIG_DEPLOYED": str(deployed),
            "HEAT_CONFIG_DEPLOYED_OLD": str(deployed),
            "HEAT_CONFIG_NOTIFY": str(upstream.NOTIFY),
            "HEAT_SCRIPT_WORKING": str(self.directory / "script"),
            "HEAT_SCRIPT_OUTPUTS": str(self.directory / "outputs"),
        }
        return {
            **os.environ,
            **(theirs if self.kind.is_upstream else own),
            "HEAT_CONFIG_HOOKS": str(self._hooks),
            "HEAT_SHELL_CONFIG": str(self.rendered),
            "BENCH_HOOK_ENDS": str(self.directory / "hook-ends"),
        }

    @property
    def apply_program(self) -> Path:
        """Its 55-heat-config."""
        return upstream.APPLY if self.kind.is_upstream else ours.APPLY

    @property
    def refresh_command(self) -> str:
        """What os-refresh-config does that matters: render the deployments, run 55-heat-config."""
        templates = upstream.TEMPLATES if self.kind.is_upstream else ours.TEMPLATES
        render = [self._scripts / "os-apply-config", "--templates", templates]
        render += ["--output", self.directory / "rendered"]
        return f"{shlex.join(map(str, render))} && {self.apply_program}"

    def start(self, command: str) -> None:
        """Start the agent, which runs `command` whenever the metadata changed."""
        conf = self.directory / "os-collect-config.conf"
        self._write_conf(conf, command)
        name = "os-collect-config" if self.kind.is_upstream else "heat-config-zaqar-collect"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._scripts / name, "--config-file", conf],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the agent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def cpu(self) -> float:
        """Return the CPU seconds of the agent and of what it ran.

        :raises RuntimeError: it has ended by itself.
        """
        return cpu_of_session(self._running())

    def memory(self) -> int:
        """Return the agent's resident bytes.

        :raises RuntimeError: it has ended by itself.
        """
        return memory_of_session(self._running())

    def hook_path(self, group: str) -> Path:
        """Return the hook for a group."""
        return self._hooks / group

    def _running(self) -> int:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the agent has ended: {self.log}")
        return self._process.pid

    @property
    def _scripts(self) -> Path:
        return upstream.SCRIPTS if self.kind.is_upstream else ours.SCRIPTS

    def _write_hooks(self) -> None:
        trivial = self.hook_path(TRIVIAL_GROUP)
        trivial.write_text(_TRIVIAL_HOOK)
        trivial.chmod(0o700)
        script = upstream.SCRIPT_HOOK if self.kind.is_upstream else ours.SCRIPT_HOOK
        self.hook_path("script").symlink_to(script)

    def _write_conf(self, path: Path, command: str) -> None:
        cache = self.directory / "cache"
        login = dict(self._metadata["os-collect-config"]["zaqar"])
        if self.kind.is_upstream:
            login["use_websockets"] = str(self.kind.push).lower()
        lines = [
            "[DEFAULT]",
            f"command = {_quoted(command)}",
            "collectors = zaqar",
            f"cachedir = {cache}",
            f"backup_cachedir = {cache}-backup",
            "[zaqar]",
            *(f"{name} = {_quoted(value)}" for name, value in login.items()),
        ]
        path.write_text("\n".join([*lines, ""]))
        path.chmod(0o600)


def settings_text(state: Path, runtime: Path, push: bool) -> str:
    """Return the text of our settings file for a guest that keeps its files there."""
    values = {
        "state_dir": f'"{state}"',
        "runtime_dir": f'"{runtime}"',
        "working_dir": f'"{state / "work"}"',
        "push": str(push).lower(),
    }
    return "\n".join(f"{key} = {value}" for key, value in values.items())


def _quoted(text: str) -> str:
    """Return a value so that oslo.config reads it as it is."""
    return text.replace("$", "$$")
