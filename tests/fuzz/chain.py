"""One guest, from the metadata queue to Heat: collector, os-apply-config, 55-heat-config, delivery.

All of the product and of os-collect-config and os-apply-config is real, in this process. Stand-ins
are the network (`cloud`), the clock where an hour has to pass, `fsync`, the interpreter of the
executable template, and hooks: a process for each would take longer than all the rest. Real hook
processes and the real template are tried by tests/unit/test_chain.py, on fewer snapshots.
Invariant: what must hold for any snapshot is `Guest.run`'s docstring, and nowhere else.
"""

import contextlib
import functools
import io
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from unittest import mock

from os_apply_config import apply_config, config_exception  # type: ignore[import-untyped]
from os_collect_config import collect as os_collect_config
from oslo_config import cfg

from heat_config_zaqar.collect import launcher
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import Deployment, Transport, for_its_action, parse_deployment
from heat_config_zaqar.errors import InvalidMetadataError
from heat_config_zaqar.run import apply, hook_runner
from heat_config_zaqar.run.outcome import Outcome, body_of
from heat_config_zaqar.run.processes import identify
from heat_config_zaqar.settings import SETTINGS_VARIABLE, Settings
from heat_config_zaqar.signal_body import STATUS_CODE
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Outbox, entry_for
from heat_config_zaqar.state.runs import Identity
from tests.fuzz.cloud import SECTION, StandInCloud
from tests.fuzz.hostile import NEIGHBOURS_GROUP, Case, good_deployment

_ELEMENTS = Path(__file__).resolve().parents[2] / "elements"
_TEMPLATES = {
    "var/run/heat-config/heat-config": "heat-config-zaqar",
    "etc/os-collect-config.conf": "os-collect-config-zaqar",
}
_PACKAGE = "/heat_config_zaqar/"
_COLLECTING = ("os-collect-config", "os_collect_config", "heat_config_zaqar.collect")
# Of each pause between two tries that is all that counts; refused for an hour is refused for good.
_TRY_HOURS = 120 / 3600
_TRIES = 33
_REPLAYING_HOOK = """#!/bin/sh
cat > /dev/null
n=$(cat "$0.next"); echo $(( (n + 1) % $(cat "$0.count") )) > "$0.next"
cat "$0.out.$n"
code=$(cat "$0.code.$n")
[ "$code" -ge 0 ] || kill -9 $$
exit "$code"
"""


_GOOD_HOOK = """#!/bin/sh
cat > /dev/null
echo {}
"""


class BrokenError(AssertionError):
    """What must hold does not."""


class Guest:
    """A guest's directories; `run` begins with empty ones each time.

    :param directory: where they are made, best in memory.
    :param real_processes: start hooks and the executable template as processes.
    """

    def __init__(self, directory: Path, *, real_processes: bool = False) -> None:
        self._root = directory / "guest"
        self._real = real_processes
        self._ends = contextlib.ExitStack()
        self._log = _Log()
        self._hours = 0.0
        self._hook_process: subprocess.Popen[bytes] | None = None
        self.cloud = StandInCloud()
        self.current = Settings(
            push=False,
            state_dir=self._root / "state",
            runtime_dir=self._root / "run",
            working_dir=self._root / "work",
        )

    def __enter__(self) -> Self:
        """Put the stand-ins in their places; `__exit__` takes them away."""
        with contextlib.ExitStack() as ends:
            ends.enter_context(self._log.installed())
            ends.enter_context(mock.patch.dict(os.environ, self._environment()))
            for name in ("time", "monotonic"):
                ends.enter_context(mock.patch.object(time, name, self._later(getattr(time, name))))
            if self._real:
                ends.enter_context(self.cloud.installed())
            else:
                ends.enter_context(self.cloud.installed_above_http())
                ends.enter_context(mock.patch.object(os, "fsync", lambda _: None))
                ends.enter_context(mock.patch.object(apply_config, "render_executable", _rendered))
                ends.enter_context(mock.patch.object(hook_runner, "run", self._played_hook))
            ends.enter_context(_configured(self._root / "cache"))
            ends.callback(self._end_hook_process)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def run(self, case: Case) -> None:
        """Let a new guest receive a snapshot and do what it says.

        No exception leaves any of the commands, and each exits with 0. The first run signals the
        neighbours. Each deployment that has an id and a hook ends in a result, and within hours in
        exactly one signal; where its own inputs make that impossible, in a record that says why.
        Only a host that is away is waited for.

        :raises BrokenError: that is not so.
        """
        self._renew(case)
        paths = self._step("collect", self._collect)
        self._step("os-apply-config", lambda: self._apply_config(paths))
        if self._step("55-heat-config", apply.main) != 0:
            raise BrokenError(f"55-heat-config: exit code 1: {self._log.tail()}")
        arrived = Counter(place for place, _ in self.cloud.signals)
        # An id that others bear as well is one config to the product, as it is to Heat.
        bearers = Counter(deployment.id for deployment, _ in _answerable(case))
        for neighbour in case.neighbours:
            signals = sum(arrived[place] for place in _places_of(neighbour))
            if bearers[neighbour] == 1 and signals != 1:
                raise BrokenError(f"neighbour: no signal at once: {self._log.tail()}")
        outbox = Outbox(self.current.state_dir)
        for _ in range(_TRIES):
            if not outbox.pending():
                break
            self._hours += _TRY_HOURS
            self._step("deliver", Delivery(outbox, self.current).deliver_all)
        self._judge(case, dict(_by_id(outbox)))

    def signal(self, stdout: bytes, code: int, transport: str) -> None:
        """Deliver what one hook printed, and nothing else: a part of `run`.

        :raises BrokenError: no signal arrives, or another status code than Heat is to see.
        """
        outbox = Outbox(self.current.state_dir)
        deployment = parse_deployment(good_deployment("one", transport))
        body = self._step("hook", lambda: body_of("script", Outcome(end=stdout, returncode=code)))
        outbox.finish(entry_for(deployment, body, 1, 0))
        durable.write_json(self.current.collected_file, 0)
        self.cloud.signals = []
        self.cloud.at_heat = []
        try:
            self._step("deliver", Delivery(outbox, self.current).deliver_all)
            if len(self.cloud.signals) != 1:
                raise BrokenError(f"{len(self.cloud.signals)} signals: {self._log.tail()}")
            arrived = self.cloud.signals[0][1][STATUS_CODE]
            if code and arrived in (0, "0", None):
                raise BrokenError(f"exit code {code} became status code {arrived!r}")
        finally:
            self._log.lines.clear()
            for path in self.current.state_dir.glob("*/*"):
                path.unlink()

    def _judge(self, case: Case, records: dict[str, tuple[str, dict[str, Any]]]) -> None:
        made = list(_answerable(case))
        for deployment, document in made:
            others = [other for other, of in made if of is not document]
            if not _needs_no_result(deployment) and _is_alone(deployment, others):
                self._judge_one(deployment, document, *records.get(deployment.id, ("", {})))
        told = [
            config_id
            for config_id, (state, record) in records.items()
            if state == "delivered" and record["transport"] != "NO_SIGNAL"
        ]
        if len(told) != len(self.cloud.signals):
            places = [place for place, _ in self.cloud.signals]
            raise BrokenError(f"signals: {told} count as delivered, arrived have {places}")

    def _judge_one(
        self,
        deployment: Deployment,
        document: dict[str, Any],
        state: str,
        record: dict[str, Any],
    ) -> None:
        # What another deployment said may be why this one waits.
        said = self._log.about(deployment.id) or self._log.tail()
        if not state:
            raise BrokenError(f"no record of {document['id'][:40]!r}: {said}")
        if STATUS_CODE not in record["body"]:
            raise BrokenError(f"a result without a status code: {record['body']!r:.80}")
        if state == "failed" and _is_reachable(document):
            raise BrokenError(f"given up: {record['note']}")
        has_ended = state == "delivered" or (state != "outbox" and record["note"])
        if not has_ended and not self._waits_for_its_host(record):
            raise BrokenError(f"{state} for ever: {said}")

    def _waits_for_its_host(self, record: dict[str, Any]) -> bool:
        login = record.get("credentials") or {}
        hosts = tuple(filter(None, (record["url"], login.get("auth_url"))))
        return any(url.startswith(hosts) for url in self.cloud.unreachable)

    def _collect(self) -> list[str]:
        # What `install` adds lasts as long as a process; here each guest is a new one.
        for name in logging.root.manager.loggerDict:
            if name.startswith(_COLLECTING):
                logging.getLogger(name).filters.clear()
        with mock.patch.dict(os_collect_config.COLLECTORS):
            launcher.install(self.current)
            _, paths = os_collect_config.collect_all(["zaqar"], store=True)
        return list(paths)

    def _apply_config(self, paths: list[str]) -> None:
        try:
            apply_config.install_config(
                paths, str(self._root / "templates"), str(self._root / "etc"), False
            )
        except config_exception.ConfigException as error:
            raise BrokenError(f"os-apply-config: {str(error)[-300:]}") from error

    def _step(self, name: str, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except BrokenError:
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame.name for frame in frames if _PACKAGE in frame.filename]
            where = ours[-1] if ours else frames[-1].name
            kind = type(error).__name__
            raise BrokenError(f"{name}: {kind} in {where}: {error!s:.200}") from error

    def _renew(self, case: Case) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir(parents=True)
        (self._root / "cache").mkdir()
        hooks = self._root / "hooks"
        hooks.mkdir()
        for name, text in (("script", _REPLAYING_HOOK), (NEIGHBOURS_GROUP, _GOOD_HOOK)):
            (hooks / name).write_text(text)
            (hooks / name).chmod(0o755)
        if self._real:
            _write_replay(hooks / "script", case.hooks)
        for path, element in _TEMPLATES.items():
            target = self._root / "templates" / path
            target.parent.mkdir(parents=True)
            target.symlink_to(_ELEMENTS / element / "os-apply-config" / path)
        settings = [f'{key} = "{getattr(self.current, key)}"' for key in _DIRECTORIES]
        (self._root / "settings.toml").write_text("\n".join(["push = false", *settings]))
        self._hours = 0.0
        self._log.lines.clear()
        self._played = itertools.cycle(case.hooks or [(b"{}", 0)])
        self.cloud.signals = []
        self.cloud.unreachable = set()
        self.cloud.metadata = json.dumps(case.snapshot)
        self.cloud.at_heat = None

    def _environment(self) -> dict[str, str]:
        return {
            SETTINGS_VARIABLE: str(self._root / "settings.toml"),
            "HEAT_CONFIG_HOOKS": str(self._root / "hooks"),
            "HEAT_SHELL_CONFIG": str(self._root / "etc/var/run/heat-config/heat-config"),
            "OS_COLLECT_CONFIG_CONF": str(self._root / "etc/etc/os-collect-config.conf"),
        }

    def _later(self, clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + self._hours * 3600

    def _played_hook(
        self,
        hook: Path,
        document: dict[str, Any],
        _timeout: float,
        on_start: Callable[[Identity], None],
        *_: Any,
        **__: Any,
    ) -> Outcome:
        """A hook that is a process for all that look, and does at once what the case says."""
        json.dumps(document)
        if self._hook_process is None or self._hook_process.poll() is not None:
            self._hook_process = subprocess.Popen(
                ["cat"], stdin=subprocess.PIPE, start_new_session=True
            )
        on_start(identify(self._hook_process.pid))
        if hook.name == NEIGHBOURS_GROUP:
            stdout, code = b"{}", 0
        else:
            stdout, code = next(self._played)
        return Outcome(start=stdout[:4096], end=stdout, log="said", returncode=code)

    def _end_hook_process(self) -> None:
        if self._hook_process is not None:
            self._hook_process.kill()
            self._hook_process.communicate()


_DIRECTORIES = ("state_dir", "runtime_dir", "working_dir")


class _Log(logging.Handler):
    """What the product said, for the reason of a failure."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def tail(self) -> str:
        return " | ".join(line[:300] for line in self.lines[-4:])

    def about(self, config_id: str) -> str:
        shown = repr(config_id)[1:-1][:40]
        return " | ".join(line[:300] for line in self.lines if shown in line)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        # `apply.main` sets up its own log where there is none.
        root = logging.getLogger()
        handlers, root.handlers = root.handlers, [self]
        try:
            yield
        finally:
            root.handlers = handlers


@contextlib.contextmanager
def _configured(cache: Path) -> Iterator[None]:
    """os-collect-config's configuration, with the section's login; a process has only one."""
    conf = cfg.CONF
    conf.reset()
    os_collect_config.setup_conf()
    conf([], prog="os-collect-config", default_config_files=[])
    conf.set_override("cachedir", str(cache))
    conf.set_override("backup_cachedir", str(cache.with_name("backup")))
    for key, value in SECTION["zaqar"].items():
        conf.set_override(key, value, "zaqar")
    try:
        yield
    finally:
        conf.reset()
        conf.clear()


def _rendered(path: str, config: Any) -> str:
    """What os-apply-config makes of an executable template, without a process."""
    stdin, stdout = io.StringIO(json.dumps(config)), io.StringIO()
    with (
        mock.patch.object(sys, "stdin", stdin),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        try:
            exec(_compiled(path), {"__name__": "__main__"})  # noqa: S102 # our own template
        except SystemExit as end:
            if end.code:
                raise config_exception.ConfigException(str(end.code)) from end
    return stdout.getvalue()


@functools.cache
def _compiled(path: str) -> Any:
    return compile(Path(path).read_text(), path, "exec")


def _write_replay(hook: Path, results: list[tuple[bytes, int]]) -> None:
    for number, (stdout, code) in enumerate(results or [(b"{}", 0)]):
        Path(f"{hook}.out.{number}").write_bytes(stdout)
        Path(f"{hook}.code.{number}").write_text(str(code))
    Path(f"{hook}.count").write_text(str(len(results) or 1))
    Path(f"{hook}.next").write_text("0")


def _by_id(outbox: Outbox) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    for state, record in outbox.records():
        yield record["id"], (state, record)


def _places_of(config_id: str) -> tuple[str, str]:
    """Where a signal of `hostile.good_deployment` arrives: its queue, or the rest."""
    return f"t1-{config_id}-mpmx6jwjdxiw", config_id


def _answerable(case: Case) -> Iterator[tuple[Deployment, dict[str, Any]]]:
    """Yield what Heat could wait for, with what was sent: it has an id, or an address."""
    for document in case.deployments:
        try:
            yield parse_deployment(document), document
        except InvalidMetadataError as error:
            config_id = document.get("id")
            if isinstance(config_id, str) and config_id:
                raise BrokenError(f"ignored although it has an id: {error}") from error


def _needs_no_result(deployment: Deployment) -> bool:
    with contextlib.suppress(InvalidMetadataError):
        chosen = for_its_action(deployment)
        is_applied = chosen.group == "os-apply-config" and chosen.transport is Transport.NONE
        return chosen.group == "Heat::Ungrouped" or is_applied
    return False


def _is_alone(deployment: Deployment, others: list[Deployment]) -> bool:
    """Whether no other entry could be a newer config of the same deployment, or its double."""
    return not any(
        other.id == deployment.id or (deployment.target and other.target == deployment.target)
        for other in others
    )


def _is_reachable(document: dict[str, Any]) -> bool:
    """Whether the inputs say where to signal, as Heat does; a resource may have any name."""
    found = _inputs(document)
    resource = found.pop("deploy_resource_name", "")
    transport = found.get("deploy_signal_transport")
    name = found.get("deploy_user_id", "").removeprefix("user-of-")
    wanted = _inputs(good_deployment(name, str(transport)))
    del wanted["deploy_resource_name"]
    is_name = resource.isprintable() and "/" not in resource and resource.strip(".") != ""
    return found == wanted and is_name and transport in list(Transport)


def _inputs(document: dict[str, Any]) -> dict[str, str]:
    listed = document.get("inputs")
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    found = {str(item.get("name")): item.get("value") for item in reversed(items)}
    # What is no text leads nowhere for sure: Heat sends none.
    return {name: value for name, value in found.items() if isinstance(value, str)}
