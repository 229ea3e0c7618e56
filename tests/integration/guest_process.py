"""A guest without an image: the real console scripts in a directory of their own."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from heat_config_zaqar import durable
from heat_config_zaqar.outbox import Outbox
from heat_config_zaqar.settings import SETTINGS_VARIABLE, Settings

SCRIPTS = Path(sys.executable).parent


class GuestProcess:
    """Runs collector, 55-heat-config and delivery for one server.

    :param directory: where its state lies.
    :param metadata: what Heat's server metadata says: login and queue.
    :param login: what is to be different in the login, such as its region.
    """

    def __init__(self, directory: Path, metadata: dict[str, Any], **login: str) -> None:
        self.directory = directory
        self.settings = Settings(
            state_dir=directory / "state",
            runtime_dir=directory / "run",
            working_dir=directory / "work",
        )
        lines = [
            f'{name} = "{getattr(self.settings, name)}"'
            for name in ("state_dir", "runtime_dir", "working_dir")
        ]
        (directory / "settings.toml").write_text("\n".join(lines))
        hooks = directory / "hooks"
        hooks.mkdir()
        (hooks / "script").symlink_to(SCRIPTS / "heat-config-zaqar-script-hook")
        self._write_conf(metadata["os-collect-config"]["zaqar"] | login)
        self.environment = {
            **os.environ,
            SETTINGS_VARIABLE: str(directory / "settings.toml"),
            "HEAT_CONFIG_HOOKS": str(hooks),
            "HEAT_SHELL_CONFIG": str(directory / "heat-config"),
        }

    @property
    def one_time(self) -> list[str]:
        """The arguments that make os-collect-config collect once and print it."""
        conf = str(self.directory / "os-collect-config.conf")
        return ["--config-file", conf, "--one-time", "zaqar"]

    def set(self, **settings: str) -> None:
        """Add settings, as TOML values."""
        with (self.directory / "settings.toml").open("a") as file:
            file.writelines(f"\n{name} = {value}" for name, value in settings.items())

    @property
    def outbox(self) -> Outbox:
        """The guest's outbox."""
        return Outbox(self.settings.state_dir)

    def collect(self) -> dict[str, Any]:
        """Collect once, as `os-collect-config … zaqar` does; return the snapshot."""
        done = self.run("heat-config-zaqar-collect", *self.one_time)
        found: dict[str, Any] = json.loads(done.stdout)["zaqar"]
        (self.directory / "heat-config").write_text(json.dumps(found["deployments"]))
        return found

    def collect_and_run(self, command: str, *collectors: str) -> subprocess.CompletedProcess[str]:
        """Collect once and run the command if anything changed, as the service does."""
        conf = str(self.directory / "os-collect-config.conf")
        options = ["--config-file", conf, "--one-time", "--command", command]
        return self.run("heat-config-zaqar-collect", *options, *(collectors or ("zaqar",)))

    def start_collecting(self, command: str) -> subprocess.Popen[bytes]:
        """Start os-collect-config as the service does, with a command of the test's.

        What it logs is in `collector.log` of the directory.
        """
        conf = str(self.directory / "os-collect-config.conf")
        options = ["--config-file", conf, "--command", command, "zaqar"]
        with (self.directory / "collector.log").open("ab") as log:
            return subprocess.Popen(
                [SCRIPTS / "heat-config-zaqar-collect", *options],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def connection_state(self) -> str:
        """How the collector says that metadata comes in; empty before it says so."""
        known = durable.read_json(self.settings.connection_file)
        return known["state"] if known else ""

    def apply(self) -> subprocess.CompletedProcess[str]:
        """Run 55-heat-config on what was collected."""
        return self.run("55-heat-config")

    def start_applying(self) -> subprocess.Popen[bytes]:
        """Start 55-heat-config on what was collected, for a test that kills it."""
        return subprocess.Popen(
            [SCRIPTS / "55-heat-config"], env=self.environment, start_new_session=True
        )

    def deliver(self) -> subprocess.CompletedProcess[str]:
        """Do what the delivery unit does."""
        return self.run("heat-config-zaqar", "deliver")

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a console script; its failure is the caller's to judge."""
        return subprocess.run(
            [str(SCRIPTS / script), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def run_python(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run Python text in the guest's environment, for faults at a certain step."""
        return subprocess.run(
            [sys.executable, "-c", text],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def _write_conf(self, login: dict[str, str]) -> None:
        options = [f"{key} = {value.replace('$', '$$')}" for key, value in login.items()]
        cache = self.directory / "cache"
        text = ["[DEFAULT]", f"cachedir = {cache}", f"backup_cachedir = {cache}-backup"]
        path = self.directory / "os-collect-config.conf"
        path.write_text("\n".join([*text, "[zaqar]", *options, ""]))
        path.chmod(0o600)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group; hooks have sessions of their own and are left alone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
