"""A guest without an image: the real console scripts in a directory of their own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heat_config_zaqar.settings import SETTINGS_VARIABLE, Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Outbox
from tests import leaks

SCRIPTS = Path(sys.executable).parent


class GuestProcess:
    """Runs collector, 55-heat-config and delivery for one server.

    :param directory: where its state lies.
    :param metadata: what Heat's server metadata says: login and queue.
    :param login: what is to be different in the login, such as its region.
    """

    def __init__(self, directory: Path, metadata: dict[str, Any], **login: str) -> None:
        self.directory = directory
        self._secrets = leaks.secrets_of_metadata(metadata)
        self._printed: list[str] = []
        self._command_lines: set[str] = set()
        # A busy machine's cloud takes long to answer, which is not what these tests are about.
        self.settings = Settings(
            request_timeout=60,
            state_dir=directory / "state",
            runtime_dir=directory / "run",
            working_dir=directory / "work",
            conf_file=directory / "os-collect-config.conf",
        )
        lines = [f"request_timeout = {self.settings.request_timeout}"]
        lines += [
            f'{name} = "{getattr(self.settings, name)}"'
            for name in ("state_dir", "runtime_dir", "working_dir", "conf_file")
        ]
        (directory / "settings.toml").write_text("\n".join(lines))
        hooks = directory / "hooks"
        hooks.mkdir()
        (hooks / "script").symlink_to(SCRIPTS / "heat-config-zaqar-script-hook")
        self.collect_from("zaqar", metadata["os-collect-config"]["zaqar"] | login)
        self.environment = {
            **os.environ,
            SETTINGS_VARIABLE: str(directory / "settings.toml"),
            "HEAT_CONFIG_HOOKS": str(hooks),
            "HEAT_SHELL_CONFIG": str(directory / "heat-config"),
        }

    def collect_from(self, source: str, login: dict[str, str]) -> None:
        """Set where the metadata comes from: one of os-collect-config's collectors."""
        options = [f"{key} = {value.replace('$', '$$')}" for key, value in login.items()]
        cache = self.directory / "cache"
        text = ["[DEFAULT]", f"cachedir = {cache}", f"backup_cachedir = {cache}-backup"]
        self.settings.conf_file.touch(mode=0o600)
        self.settings.conf_file.write_text("\n".join([*text, f"[{source}]", *options, ""]))

    @property
    def one_time(self) -> list[str]:
        """The arguments that make os-collect-config collect once and print it."""
        conf = str(self.directory / "os-collect-config.conf")
        return ["--config-file", conf, "--one-time", "zaqar"]

    def set(self, **settings: str) -> None:
        """Change settings, given as TOML values."""
        path = self.directory / "settings.toml"
        lines = path.read_text().splitlines()
        kept = [line for line in lines if line.partition(" ")[0] not in settings]
        path.write_text("\n".join([*kept, *(f"{name} = {settings[name]}" for name in settings)]))

    @property
    def outbox(self) -> Outbox:
        """The guest's outbox."""
        return Outbox(self.settings.state_dir)

    def collect(self) -> dict[str, Any]:
        """Collect once, as `os-collect-config … zaqar` does; return the snapshot."""
        done = self.run("heat-config-zaqar-collect", *self.one_time)
        found: dict[str, Any] = json.loads(done.stdout)["zaqar"]
        self.write_deployments(found["deployments"])
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

    def write_deployments(self, deployments: list[dict[str, Any]]) -> None:
        """Write what 55-heat-config reads, as os-apply-config does."""
        self._secrets |= leaks.secrets_of_metadata({"deployments": deployments})
        path = self.directory / "heat-config"
        path.touch(mode=0o600)
        path.write_text(json.dumps(deployments))
        # It comes after metadata was collected.
        durable.write_json(self.settings.collected_file, time.time())

    def deployments(self) -> list[dict[str, Any]]:
        """Return what 55-heat-config reads."""
        found: list[dict[str, Any]] = json.loads((self.directory / "heat-config").read_text())
        return found

    def states(self) -> dict[str, str]:
        """Return the state of each deployment by its config id."""
        return {record["id"]: state for state, record in self.outbox.records()}

    def change_pending(self, **changes: object) -> None:
        """Change fields of each signal that waits, as time or another version would have."""
        for path in (self.settings.state_dir / "outbox").glob("*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def reboot(self) -> None:
        """Lose what a reboot takes."""
        for path in self.settings.runtime_dir.rglob("*"):
            if path.is_file():
                path.unlink()

    def forget_tokens(self) -> None:
        """Make the next process log in."""
        for path in self.settings.token_dir.glob("*"):
            path.unlink()

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

    def has_delivered(self) -> bool:
        """Do what the delivery unit does where signals wait; return whether none does now."""
        if self.outbox.pending():
            self.deliver()
        return not self.outbox.pending()

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a console script; its failure is the caller's to judge."""
        return self._run([str(SCRIPTS / script), *arguments])

    def run_python(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run Python text in the guest's environment, for faults at a certain step."""
        return self._run([sys.executable, "-c", text])

    def assert_no_secret_leaked(self) -> None:
        """Fail where what was printed, a command line, a signal or an open file holds a secret."""
        secrets = self._secrets | leaks.tokens_below(self.settings.token_dir)
        leaks.assert_absent(secrets, "\n".join(self._printed), "what the guest printed")
        leaks.assert_absent(secrets, "\n".join(self._command_lines), "a command line")
        for _, record in self.outbox.records():
            body = json.dumps(record.get("body"))
            leaks.assert_absent(secrets, body, f"the signal of {record['id']}")
        leaks.assert_files_closed(secrets, self.directory)

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 120
        stdout = stderr = ""
        while True:
            self._command_lines |= leaks.command_lines()
            try:
                stdout, stderr = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    process.kill()
                    raise
        # Collecting once prints the metadata, which is what it is asked for.
        collected = "--one-time" in command
        self._printed += [stderr] if collected else [stdout, stderr]
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group; hooks have sessions of their own and are left alone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
