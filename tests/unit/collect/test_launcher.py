"""os-collect-config as the launcher runs it, in a process of its own."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from heat_config_zaqar.settings import SETTINGS_VARIABLE


class Guest:
    """A guest whose only source is `local`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.local = directory / "local"
        self.local.mkdir()
        (self.local / "a.json").write_text('{"password": "secret"}')
        settings = f'state_dir = "{directory}/state"\nruntime_dir = "{directory}/run"\n'
        (directory / "settings.toml").write_text(settings)
        cache = f"cachedir = {directory}/cache\nbackup_cachedir = {directory}/backup\n"
        self.conf = directory / "conf"
        self.conf.write_text(f"[DEFAULT]\n{cache}[local]\npath = {self.local}\n")

    def run(
        self, *arguments: str, before: str = "", source: str = "local", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the launcher; `before` is Python text that comes first."""
        argv = ["o", "--config-file", str(self.conf), *arguments, source]
        text = (
            f"import os, sys\nos.umask(0o022)\n{before}\n"
            "from heat_config_zaqar.collect import launcher\n"
            f"sys.argv = {argv!r}\n"
            "sys.exit(launcher.main())"
        )
        known = {**os.environ, SETTINGS_VARIABLE: str(self.directory / "settings.toml")}
        return subprocess.run(
            [sys.executable, "-c", text],
            env=known | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


# The moment between the copy of a file and the copy of its mode, which another user need not guess.
LOOK = """
import shutil
copy = shutil.copyfile
def looked_at(source, target, **more):
    copy(source, target, **more)
    if os.stat(target).st_mode & 0o077 and os.stat(os.path.dirname(target)).st_mode & 0o077:
        print(target, "can be read by others", file=sys.stderr)
    return target
shutil.copyfile = looked_at
"""


def test_no_other_user_can_read_the_cache_at_any_moment(guest: Guest) -> None:
    for number in range(2):
        (guest.local / "a.json").write_text(f'{{"password": "{number}"}}')
        done = guest.run("--one-time", "--command", "true", before=LOOK)
        assert done.returncode == 0, done.stderr
        assert "can be read by others" not in done.stderr
    for directory in ("cache", "backup"):
        files = list((guest.directory / directory).iterdir())
        assert files
        assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_the_command_has_the_umask_that_hooks_expect(guest: Guest) -> None:
    made = guest.directory / "made"
    assert guest.run("--one-time", "--command", f"umask > {made}").returncode == 0
    assert made.read_text().strip() == "0022"


def test_printing_works_in_a_locale_that_upstream_cannot_restore(guest: Guest) -> None:
    (guest.local / "B.json").write_text("{}")
    (guest.local / "ü.json").write_text('{"text": "ü"}')
    broken = "import locale\nlocale.setlocale = None"
    done = guest.run("--print", before=broken, LANG="C.UTF-8", LC_ALL="")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["B.json", "a.json", "ü.json"]


def test_splay_works_and_proves_nothing_collected(guest: Guest) -> None:
    guest.conf.write_text(guest.conf.read_text().replace("[local]", "splay = 0.5\n[local]"))
    (guest.local / "heat.json").write_text('{"deployments": []}')
    collected = guest.directory / "run/collected"
    stop = (
        "import time\nreal = time.sleep\n"
        "def sleep(seconds):\n"
        f"    print('slept', seconds, os.path.exists({str(collected)!r}), file=sys.stderr)\n"
        "    if seconds == 1: os._exit(0)\n"
        "time.sleep = sleep"
    )
    done = guest.run("--command", "true", before=stop)
    first, second = [line for line in done.stderr.splitlines() if line.startswith("slept")]
    assert 0 <= float(first.split()[1]) <= 0.5
    assert first.endswith("False")
    assert second == "slept 1.0 True"


def test_a_connection_that_breaks_does_not_end_the_process(guest: Guest) -> None:
    after = (
        "import os_collect_config.local as l, signal\n"
        "real = l.Collector.collect\n"
        "def collect(self):\n"
        "    os.kill(os.getpid(), signal.SIGPIPE)\n"
        "    return real(self)\n"
        "l.Collector.collect = collect"
    )
    assert guest.run("--print", before=after).returncode == 0


def test_a_full_disk_is_waited_for(guest: Guest) -> None:
    full = (
        "import os_collect_config.cache as c\n"
        "def full(*_): raise OSError(28, 'No space left on device')\n"
        "c.store = full"
    )
    done = guest.run("--one-time", "--command", "true", before=full)
    assert done.returncode == 0
    assert "No space left on device; nothing is collected for now" in done.stderr
    assert not (guest.directory / "run/collected").exists()


def test_a_boot_without_metadata_complains_once(guest: Guest) -> None:
    stop = (
        "import time\nrounds = []\n"
        "def sleep(seconds):\n"
        "    rounds.append(seconds)\n"
        "    if len(rounds) == 4: os._exit(0)\n"
        "time.sleep = sleep"
    )
    conf = "[ec2]\nmetadata_url = http://127.0.0.1:9/latest/meta-data\n"
    guest.conf.write_text(f"{guest.conf.read_text()}{conf}")
    done = guest.run("--command", "true", before=stop, source="ec2")
    assert done.stderr.count("Connection refused") == 1, done.stderr
    assert done.stderr.count("blkid") <= 1
    assert "Unavailable" not in done.stderr


@pytest.mark.parametrize("has_run_before", [True, False])
def test_without_a_queue_what_a_disk_that_was_put_back_may_have_lost_is_noted(
    guest: Guest, has_run_before: bool
) -> None:
    state = guest.directory / "state"
    if has_run_before:
        (state / "delivered").mkdir(parents=True)
        (state / "delivered/done.json").write_text('{"id": "done"}')
    listed = [{"id": name, "name": name, "group": "script"} for name in ("done", "lost")]
    (guest.local / "heat.json").write_text(json.dumps({"deployments": listed}))
    for command in ("", "true"):
        assert guest.run("--one-time", "--command", command).returncode == 0
        noted = guest.directory / "run/doubtful.json"
        found = json.loads(noted.read_text())["configs"] if noted.exists() else []
        assert found == (["lost"] if has_run_before else [])
        # A reboot.
        shutil.rmtree(guest.directory / "run")


def test_a_source_that_is_away_proves_nothing_collected(guest: Guest) -> None:
    assert guest.run("--one-time", "--command", "true").returncode == 0
    assert not (guest.directory / "run/collected").exists()


class Proxy(http.server.BaseHTTPRequestHandler):
    """Refuses everything, and remembers what for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Refuse."""
        self.asked.append(self.path)
        self.send_error(503)

    do_HEAD = do_POST = do_GET  # noqa: N815 # of http.server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def proxy() -> Iterator[str]:
    """The URL of a proxy on loopback."""
    Proxy.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# Names that nobody can resolve: only a proxy can.
BEHIND_A_PROXY = {
    "request": "metadata_url = http://request.invalid/metadata",
    "cfn": "metadata_url = http://cfn.invalid/v1/\naccess_key_id = a\nsecret_access_key = b\n"
    "stack_name = s\npath = server.Metadata",
    "heat": "auth_url = http://keystone.invalid/v3\nuser_id = a\npassword = b\nproject_id = c\n"
    "stack_id = s\nresource_name = server",
}


@pytest.mark.parametrize("source", BEHIND_A_PROXY)
def test_each_source_that_polls_goes_through_the_proxy_of_the_settings_and_no_other(
    guest: Guest, proxy: str, source: str
) -> None:
    conf = guest.conf.read_text()
    guest.conf.write_text(f"{conf}[{source}]\n{BEHIND_A_PROXY[source]}\n")
    run = ("--one-time", "--command", "true")
    guest.run(*run, source=source, http_proxy=proxy)
    assert Proxy.asked == []
    with (guest.directory / "settings.toml").open("a") as settings:
        settings.write(f'proxy = "{proxy}"\n')
    guest.run(*run, source=source, http_proxy="http://127.0.0.1:9")
    assert {urlsplit(url).hostname for url in Proxy.asked} == {
        "keystone.invalid" if source == "heat" else f"{source}.invalid"
    }


def test_the_machines_own_metadata_service_is_behind_no_proxy(guest: Guest, proxy: str) -> None:
    with (guest.directory / "settings.toml").open("a") as settings:
        settings.write(f'proxy = "{proxy}"\n')
    guest.run("--one-time", "--command", "true", source="ec2")
    assert Proxy.asked == []


def test_hooks_have_the_proxy_of_the_environment_as_it_was(guest: Guest) -> None:
    made = guest.directory / "made"
    command = f"printenv http_proxy > {made}"
    guest.run("--one-time", "--command", command, http_proxy="http://of.others:1")
    assert made.read_text() == "http://of.others:1\n"
