"""Starting services together: each as soon as those that it needs answer.

Invariant: a preparation is marked as done only after all of it was, a service counts as up only
once its probe says so, and one failure ends the waiting for all others.
"""

import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from keystoneauth1 import exceptions

from testbed.cloud import processes
from testbed.cloud.environment import tail
from testbed.cloud.layout import PORTS, Layout, write_private
from testbed.cloud.probes import port_is_taken
from testbed.cloud.processes import CloudError
from testbed.cloud.services import Service, process_environment

_POLL_SECONDS = 0.1


class _GaveUpError(CloudError):
    """Another service failed first; its own error says more than this one."""


@dataclass(frozen=True)
class Launch:
    """One bringing up of services; `files` are their configuration files' texts by path."""

    layout: Layout
    files: Mapping[str, Mapping[Path, str]]
    progress: Callable[[str], None]

    def bring_up(self, services: Sequence[Service]) -> None:
        """Bring the services up at the same time; leave alone what is up with these files.

        Raises CloudError for the first service that fails.
        """
        self._write_files(services)
        futures: dict[str, Future[None]] = {}
        failed = threading.Event()

        def await_up(names: Sequence[str]) -> None:
            for name in names:
                if name in futures:
                    futures[name].result()

        def task(service: Service) -> None:
            await_up(service.needs)
            self._ensure(service, failed, lambda: await_up(service.asks))

        # As many threads as tasks, or a waiting one could keep what it waits for from starting.
        with ThreadPoolExecutor(len(services)) as pool:
            for service in services:
                futures[service.name] = pool.submit(task, service)
                futures[service.name].add_done_callback(
                    lambda future: failed.set() if future.exception() else None
                )
        errors = [error for future in futures.values() if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, _GaveUpError)):
            raise error

    def _write_files(self, services: Sequence[Service]) -> None:
        # All of them before any service starts, because services share files.
        for service in services:
            for path, text in self.files.get(service.name, {}).items():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_private(path, text)

    def _ensure(
        self, service: Service, failed: threading.Event, await_asked: Callable[[], None]
    ) -> None:
        began = time.monotonic()
        digest = self._digest(service)
        known = processes.running(self.layout.record(service.name))
        if known and known.digest == digest:
            await_asked()
            # A stall of some seconds is no reason to restart what runs.
            if any(service.probe() for _ in range(3)):
                self._populate(service)
                return
        processes.stop(self.layout.record(service.name), service.grace)
        self._once(service.name, lambda: self._prepare(service))
        self._start(service, digest)
        await_asked()
        self._wait(service, failed)
        self._populate(service)
        self.progress(f"{service.name} is up ({time.monotonic() - began:.1f} s)")

    def _populate(self, service: Service) -> None:
        if service.populate:
            self._once(f"{service.name}-content", service.populate)

    def _digest(self, service: Service) -> str:
        environment = process_environment(self.layout, service)
        parts = [*service.command, *(f"{key}={value}" for key, value in environment.items())]
        parts += self.files.get(service.name, {}).values()
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _once(self, name: str, action: Callable[[], None]) -> None:
        mark = self.layout.prepared / name
        if mark.exists():
            return
        try:
            action()
        except exceptions.ClientException as error:
            raise CloudError(f"{name}: {error}") from error
        mark.touch()

    def _prepare(self, service: Service) -> None:
        log = self.layout.log_file(service.name)
        environment = process_environment(self.layout, service)
        for command in service.prepare:
            with log.open("ab") as stream:
                result = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    check=False,
                )
            if result.returncode != 0:
                raise CloudError(
                    f"{service.name}: {' '.join(command)} failed with {result.returncode}; where "
                    f"an earlier attempt was interrupted, run down and remove "
                    f"{self.layout.directory}. The end of {log}:\n{tail(log)}"
                )

    def _start(self, service: Service, digest: str) -> None:
        port = PORTS.get(service.name)
        if port and port_is_taken(port):
            raise CloudError(
                f"{service.name}: port {port} is held by a process that this cloud did not start"
            )
        processes.start(
            service.command,
            process_environment(self.layout, service),
            self.layout.log_file(service.name),
            self.layout.record(service.name),
            digest,
        )

    def _wait(self, service: Service, failed: threading.Event) -> None:
        log = self.layout.log_file(service.name)
        deadline = time.monotonic() + service.patience
        while not service.probe():
            if not processes.running(self.layout.record(service.name)):
                raise CloudError(f"{service.name} ended; the end of {log}:\n{tail(log)}")
            if time.monotonic() > deadline:
                raise CloudError(
                    f"{service.name} did not answer within {service.patience:.0f} s; "
                    f"the end of {log}:\n{tail(log)}"
                )
            if failed.wait(_POLL_SECONDS):
                raise _GaveUpError(f"{service.name}: another service failed")
