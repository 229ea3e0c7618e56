"""How far a deployment is that is in progress, as a real Heat 27 with heat-plugin/ shows it.

A change of plug-ins restarts Heat, so the order of the tests saves time; each says what it needs.
"""

import contextlib
import http.server
import json
import re
import resource
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from testbed.cloud import Cloud
from testbed.cloud.layout import REGION, http_url
from testbed.guest import wait_for
from testbed.heat import Heat, Script
from tests import leaks
from tests.bench.control_plane import cpu_of_session
from tests.integration.conftest import PLUGIN, Engine, script, stack_with_guest, template_of
from tests.integration.guest_process import GuestProcess, kill_group
from tests.integration.test_cloud import inputs_of

HEARTBEAT_SECONDS = 4.0
# From a thing's happening until Heat shows it.
SHOWN_SECONDS = 10.0
RUNS = r"Hook runs since \S+Z \(attempt {}\), alive at \S+Z, printed at \S+Z: {}"
WAITS = r"Guest has it since \S+Z, its hook has not started"
INPUT = "deploy_progress_queue_id"


def held(directory: Path, text: str = "echo begun >&2") -> str:
    """Return a script that notes when it comes to a step, and waits for `Site.go_on`."""

    def note(step: str) -> str:
        return f"date +%s.%N >{directory}/{step}.new; mv {directory}/{step}.new {directory}/{step}"

    def wait(step: str) -> str:
        return f"until [ -e {directory}/after-{step} ]; do sleep 0.1; done"

    lines = [text, note("begun"), wait("begun"), "echo going on", note("went"), wait("went")]
    return "\n".join(["#!/bin/sh", *lines, ""])


@pytest.fixture
def plugin(engine: Engine) -> None:
    engine(PLUGIN)


class Site:
    """One stack, its guest, and what Heat shows of its deployments."""

    def __init__(self, cloud: Cloud, name: str, guest: GuestProcess) -> None:
        self.guest = guest
        self.directory = guest.directory
        self.name = name
        self.heat = Heat(cloud.admin_session())
        self._api = Adapter(cloud.admin_session(), service_type="orchestration", region_name=REGION)

    def collect(self) -> dict[str, str]:
        """Collect what Heat posted; return each deployment's progress queue, empty for none."""
        self.guest.collect()
        found = {item["name"]: inputs_of(item) for item in self.guest.deployments()}
        return {name: inputs.get(INPUT, "") for name, inputs in found.items()}

    def run(self) -> "subprocess.Popen[bytes]":
        """Start 55-heat-config, with a minute that is shorter."""
        text = (
            "from heat_config_zaqar.deliver import progress\n"
            f"progress.HEARTBEAT_SECONDS = {HEARTBEAT_SECONDS}\n"
            "from heat_config_zaqar.run.apply import main\n"
            "raise SystemExit(main())\n"
        )
        with (self.directory / "apply.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", text],
                env=self.guest.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return (self.directory / "apply.log").read_text()

    def go_on(self, after: str) -> None:
        (self.directory / f"after-{after}").touch()

    def moment_of(self, step: str) -> float:
        """Wait until the script has come to a step; return when it did."""
        path = self.directory / step
        wait_for(lambda: path.exists() and bool(path.read_text()), 60, f"no {step}: {self.log}")
        return float(path.read_text())

    def await_shown(self, name: str, pattern: str, since: float, seconds: float) -> str:
        """Wait until Heat shows a status reason; fail where that is too long after a moment."""
        while True:
            # A slow answer is of the moment that it was asked for.
            late = time.time() - since
            reason = self.heat.resource(self.name, name).reason
            if re.fullmatch(pattern, reason):
                return reason
            assert late < seconds, f"{late:.1f} s later {name} shows {reason!r}: {self.log}"
            time.sleep(0.1)

    def events(self, name: str) -> list[tuple[str, str]]:
        """Return (status, reason) of a resource's events, oldest first."""
        stack = self.heat.stack(self.name)
        path = f"/stacks/{stack.name}/{stack.id}/resources/{name}/events"
        found = self._api.get(path, params={"sort_dir": "asc"}).json()["events"]
        return [(item["resource_status"], item["resource_status_reason"]) for item in found]

    def complete(self, process: "subprocess.Popen[bytes]") -> Mapping[str, Any]:
        """Wait for 55-heat-config and for Heat; return the stack's outputs."""
        assert process.wait(120) == 0, self.log
        wait_for(self.guest.has_delivered, 120, "the signals wait")
        return self.heat.wait_for(self.name, ["CREATE_COMPLETE"], 120).outputs

    def post(self, queue: str, *bodies: Any) -> None:
        """Post to a queue as the server's user, who may be anybody's."""
        zaqar = self.heat.server_metadata(self.name)["os-collect-config"]["zaqar"]
        keys = ("auth_url", "user_id", "password", "project_id")
        session = Session(v3.Password(**{key: zaqar[key] for key in keys}), timeout=60)
        for body in bodies:
            session.post(
                f"{http_url('zaqar')}/v2/queues/{queue}/messages",
                json={"messages": [{"body": body, "ttl": 300}]},
                headers={"Client-ID": str(uuid.uuid4())},
            )


NewSite = Callable[..., Site]


@pytest.fixture
def new_site(cloud: Cloud, tmp_path: Path) -> Iterator[NewSite]:
    """Make stacks, whose scripts may name their guest's directory; they run by their names."""
    with contextlib.ExitStack() as ends:

        def make(name: str, scripts: Callable[[Path], Mapping[str, Script]]) -> Site:
            directory = tmp_path / name
            directory.mkdir()
            heat = Heat(cloud.admin_session())
            context = stack_with_guest(heat, name, scripts(directory), directory)
            return Site(cloud, name, ends.enter_context(context))

        yield make


class Access:
    """What services have been asked since this was made, by their own logs."""

    _LINE = re.compile(r"\] ([A-Z]+) (\S+) => generated ")

    def __init__(self, cloud: Cloud) -> None:
        self._logs = {name: cloud.log_directory / f"{name}.log" for name in ("zaqar", "keystone")}
        self._begin = {name: path.stat().st_size for name, path in self._logs.items()}

    def asked(self, service: str, part: str = "") -> list[str]:
        """Return method and path of each request whose path holds a part."""
        with self._logs[service].open("rb") as stream:
            stream.seek(self._begin[service])
            found = self._LINE.findall(stream.read().decode(errors="replace"))
        return [f"{method} {path}" for method, path in found if part in path]


@pytest.mark.usefixtures("plugin")
def test_heat_shows_that_the_guest_has_it_that_its_hook_started_lives_and_what_it_printed(
    cloud: Cloud, new_site: NewSite
) -> None:
    name = "a-stack-whose-name-is-so-long-that-its-queues-have-to-be-named-otherwise"
    site = new_site(name, lambda path: {"one": Script(held(path)), "two": script("echo two")})
    queues = site.collect()
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,55}-progress", queue) for queue in queues.values())
    assert len(set(queues.values())) == 2
    access = Access(cloud)
    process = site.run()
    began = site.moment_of("begun")
    site.await_shown("one", RUNS.format(1, "begun"), began, SHOWN_SECONDS)
    site.await_shown("two", WAITS, began, SHOWN_SECONDS)
    alive = site.heat.resource(name, "one").reason
    a_minute = HEARTBEAT_SECONDS + SHOWN_SECONDS
    site.await_shown("one", f"(?!{re.escape(alive)})Hook runs.*: begun", time.time(), a_minute)
    site.go_on("begun")
    site.await_shown("one", RUNS.format(1, "going on"), site.moment_of("went"), a_minute)
    assert site.heat.resource(name, "one").status == "CREATE_IN_PROGRESS"
    site.go_on("went")
    assert site.complete(process)["two_deploy_stdout"] == "two\n"
    events = site.events("one")
    told = [reason for _, reason in events if reason.startswith("Hook runs")]
    posts = access.asked("zaqar", f"{queues['one']}/messages")
    assert 3 <= len(told) == len(set(told)) <= len([x for x in posts if x.startswith("POST")])
    assert [status for status, _ in events] == [
        *["CREATE_IN_PROGRESS"] * (len(told) + 1),
        "CREATE_COMPLETE",
    ]
    leaks.assert_absent({leaks.PLANTED}, str(events), "an event")
    assert site.heat.resource(name, "one").reason == "state changed"
    site.heat.delete_stack(name)

    def are_deleted() -> bool:
        last = {access.asked("zaqar", queue)[-1] for queue in queues.values()}
        return last == {f"DELETE /v2/queues/{queue}" for queue in queues.values()}

    # Logged once it is answered, which Heat may not wait for.
    wait_for(are_deleted, 30, "a queue is left")


@pytest.mark.usefixtures("plugin")
def test_an_attempt_after_a_crash_is_shown_as_such(new_site: NewSite) -> None:
    site = new_site("attempts", lambda path: {"one": Script(held(path))})
    site.collect()
    process = site.run()
    site.await_shown("one", RUNS.format(1, "begun"), site.moment_of("begun"), SHOWN_SECONDS)
    kill_group(process)
    (site.directory / "begun").unlink()
    process = site.run()
    site.await_shown("one", RUNS.format(2, "begun"), site.moment_of("begun"), SHOWN_SECONDS)
    site.go_on("begun")
    site.go_on("went")
    site.complete(process)


@pytest.mark.usefixtures("plugin")
def test_whatever_is_in_the_progress_queue_heat_is_not_harmed_and_shows_what_can_be_shown(
    cloud: Cloud, new_site: NewSite
) -> None:
    site = new_site("hostile", lambda _: {"one": script("echo one")})
    (queue,) = site.collect().values()
    (config_id,) = [item["id"] for item in site.guest.deployments()]
    ours = {"deploy_config_id": config_id}
    odd = [True, "1", -1, 1.5, 2**60, None, [1], {"a": 1}]
    site.post(
        queue,
        *["text", 17, None, [], [ours], {}, {"deploy_config_id": [config_id]}],
        *({**ours, "attempt": value, "seconds": value, "quiet": value} for value in odd),
        *({**ours, "attempt": 1, "line": value} for value in odd),
        {"deploy_config_id": "another", "attempt": 1, "line": "of another config"},
        {"deploy_status_code": 0, "deploy_stdout": "taken for the end?"},
    )
    line = "\x1b[2J\x07\u202e\U0001f600%s{0}\u00fc" + "x" * 200_000
    began = time.time()
    site.post(queue, {**ours, "attempt": 2, "line": line, "seconds": 10**9})
    shown = r"\?\[2J\?\?\?%s\{0\}" + "\u00fcx{187}"
    # Ten are read in two seconds.
    site.await_shown("one", RUNS.format(2, shown), began, 20)
    access, events = Access(cloud), len(site.events("one"))
    site.post(queue, *({**ours, "attempt": 3, "line": str(number)} for number in range(200)))
    site.await_shown("one", RUNS.format(3, r"\d+"), time.time(), 20)
    site.post(queue, {**ours, "attempt": 1, "line": "of an older attempt"})
    assert site.heat.resource("hostile", "one").status == "CREATE_IN_PROGRESS"
    told = len(site.events("one")) - events
    looks = [asked for asked in access.asked("zaqar", queue) if asked.startswith("DELETE")]
    # What a look has taken before the counting began may be told after it.
    assert told <= len(looks) + 1
    outputs = site.complete(site.run())
    assert outputs["one_deploy_stdout"] == "one\n"
    assert "older attempt" not in str(site.events("one"))


@pytest.mark.usefixtures("plugin")
def test_a_guest_that_knows_nothing_of_it_is_served_as_by_heat_alone(new_site: NewSite) -> None:
    site = new_site("upstream", lambda _: {"one": script("echo one")})
    assert site.collect()["one"]
    (signal,) = [inputs_of(item)["deploy_queue_id"] for item in site.guest.deployments()]
    time.sleep(5)
    assert site.heat.resource("upstream", "one").reason == "state changed"
    site.post(signal, {"deploy_stdout": "theirs", "deploy_status_code": 0})
    done = site.heat.wait_for("upstream", ["CREATE_COMPLETE"], 60)
    assert done.outputs["one_deploy_stdout"] == "theirs"


@pytest.mark.usefixtures("plugin")
def test_a_heat_signal_has_it_too_and_a_template_and_other_transports_have_it_not(
    cloud: Cloud, new_site: NewSite
) -> None:
    site = new_site(
        "transports",
        lambda path: {
            "one": Script(held(path), signal_transport="HEAT_SIGNAL"),
            "turned-off": script("echo off", inputs={INPUT: ""}),
            "unsignalled": script("echo none", signal_transport="NO_SIGNAL"),
            "url": script("echo url", signal_transport="CFN_SIGNAL"),
        },
    )
    access = Access(cloud)
    queues = site.collect()
    assert {name for name, queue in queues.items() if queue} == {"one"}
    process = site.run()
    site.await_shown("one", RUNS.format(1, "begun"), site.moment_of("begun"), SHOWN_SECONDS)
    site.go_on("begun")
    site.go_on("went")
    site.complete(process)
    assert {asked.split("/")[3] for asked in access.asked("zaqar", "-progress")} == {queues["one"]}


def cpu_seconds(cloud: Cloud) -> dict[str, float]:
    """Return what the cloud's services and this process's ended children have used."""
    leaders = {
        name: json.loads(cloud.layout.record(name).read_text())["pid"]
        for name in ("keystone", "mariadb", "zaqar", "redis", "heat-api", "heat-engine")
    }
    used = {name: cpu_of_session(leader) for name, leader in leaders.items()}
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {**used, "guest": ended.ru_utime + ended.ru_stime}


@pytest.mark.usefixtures("plugin")
def test_what_it_costs_is_a_request_for_each_thing_told_and_no_login(
    cloud: Cloud, new_site: NewSite, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: dict[str, tuple[int, int, int]] = {}
    cpu: dict[str, str] = {}
    for name, inputs in (("without", {INPUT: ""}), ("with", {})):
        access = Access(cloud)
        site = new_site(
            name,
            lambda _, more=inputs: {
                "one": script("echo one; sleep 10", inputs=more),
                "two": script("echo two", inputs=more),
            },
        )
        site.collect()
        site.guest.forget_tokens()
        before = cpu_seconds(cloud)
        site.complete(site.run())
        used = {who: seconds - before[who] for who, seconds in cpu_seconds(cloud).items()}
        cpu[name] = ", ".join(f"{who} {seconds:.2f}" for who, seconds in used.items())
        entries = [x for x in access.asked("keystone") if x.startswith("POST /v3/auth/tokens")]
        told = Counter(asked.split("/")[0].strip() for asked in access.asked("zaqar", "-progress"))
        counts[name] = (len(entries), told["POST"], told["DELETE"])
    with capsys.disabled():
        print(f"\nlogins, posts and signings, looks: {counts}")
        print(f"CPU seconds from 55-heat-config's start to the end: {cpu}")
    logins, told_by_post, looks = counts["with"]
    assert counts["without"][1:] == (0, 0)
    # 10 s are a start and two heartbeats of 4 s; `two` waits once; Heat has two URLs signed. On a
    # busy machine a hook lasts for one more of them, and a look of two seconds signs again.
    assert told_by_post <= 4 + 2 + 3
    assert looks <= 2 * 40
    assert logins <= counts["without"][0] + 1


class Gate(http.server.BaseHTTPRequestHandler):
    """Zaqar, but for the progress queues: those it refuses, or never answers."""

    protocol_version = "HTTP/1.1"
    hangs: ClassVar[threading.Event | None] = None
    held_up: ClassVar[int] = 0

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "-progress" in self.path:
            Gate.held_up += 1
            if self.hangs:
                self.hangs.wait(60)
            status, content = 403, b'{"title": "Forbidden", "description": "not for you"}'
        else:
            passed = {key: value for key, value in self.headers.items() if key != "Host"}
            address = http_url("zaqar") + self.path
            answer = requests.request(self.command, address, headers=passed, data=body, timeout=60)
            status, content = answer.status_code, answer.content
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gate(cloud: Cloud) -> Iterator[type[Gate]]:
    """Put the gate into the catalog in Zaqar's place."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with (
            cloud.changed_catalog({"messaging": None}),
            cloud.changed_catalog({"messaging": address}),
        ):
            yield Gate
        server.shutdown()


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("hangs", [False, True])
def test_where_zaqar_refuses_the_progress_queue_or_hangs_all_else_goes_on_and_is_logged_once(
    cloud: Cloud, gate: type[Gate], new_site: NewSite, hangs: bool
) -> None:
    goes_on = threading.Event()
    gate.hangs = goes_on if hangs else None
    gate.held_up = 0
    log = cloud.log_directory / "heat-engine.log"
    before = log.stat().st_size
    site = new_site(
        f"gate-{hangs}".lower(),
        lambda path: {
            "one": Script(held(path), signal_transport="HEAT_SIGNAL"),
            "two": script("echo two"),
        },
    )
    assert all(site.collect().values())
    site.guest.set(request_timeout="10")
    process = site.run()
    site.moment_of("begun")
    wait_for(lambda: "its progress cannot be shown" in site.log, 60, "nothing is logged")
    time.sleep(HEARTBEAT_SECONDS * 2)
    site.go_on("begun")
    site.go_on("went")
    ended = site.moment_of("went")
    site.complete(process)
    # What hangs does so for a minute.
    assert time.time() - ended < 40
    site.heat.delete_stack(site.name)
    goes_on.set()
    # The guest's posts, and Heat's wish for a signed URL.
    assert gate.held_up >= 2
    assert site.log.count("its progress cannot be shown in Heat") == 1
    with log.open("rb") as stream:
        stream.seek(before)
        said = stream.read().decode(errors="replace")
    assert 1 <= said.count("its progress is not shown") <= 2


def test_an_operator_turns_it_off_in_heat_conf(engine: Engine, new_site: NewSite) -> None:
    engine(PLUGIN, deployment_progress="False")
    site = new_site("off", lambda _: {"one": script("echo one")})
    assert site.collect() == {"one": ""}
    site.complete(site.run())


def test_where_the_plugin_goes_while_a_hook_runs_nothing_else_happens_and_stock_heat_has_none(
    cloud: Cloud, engine: Engine, new_site: NewSite
) -> None:
    engine(PLUGIN)
    site = new_site("removed", lambda path: {"one": Script(held(path))})
    (queue,) = site.collect().values()
    process = site.run()
    site.await_shown("one", RUNS.format(1, "begun"), site.moment_of("begun"), SHOWN_SECONDS)
    engine()
    time.sleep(HEARTBEAT_SECONDS * 2)
    site.go_on("begun")
    site.go_on("went")
    assert process.wait(60) == 0
    assert "cannot be shown" not in site.log
    heat = Heat(cloud.admin_session())
    # As without the plug-in: what was in progress when Heat stopped is up to Heat.
    assert set(site.guest.states().values()) == {"delivered"}
    heat.update_stack("removed", template_of({"one": script("echo second")}))
    access = Access(cloud)
    wait_for(lambda: site.collect() == {"one": ""}, 120, "no new config without the input")
    assert site.run().wait(60) == 0
    wait_for(site.guest.has_delivered, 120, "the signals wait")
    done = heat.wait_for("removed", ["UPDATE_COMPLETE"], 120)
    assert done.outputs["one_deploy_stdout"] == "second\n"
    assert access.asked("zaqar", queue) == []
