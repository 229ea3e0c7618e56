"""The cloud as a whole: up, down and everything between.

Invariant: every call may be repeated, and may follow a crash of any of the cloud's processes or
of an earlier call. One call at a time changes a cloud; others wait for it.
"""

import fcntl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path

from keystoneauth1.session import Session

from testbed.cloud import (
    configuration,
    environment,
    identity,
    nova,
    pairs,
    probes,
    processes,
)
from testbed.cloud.launch import Launch
from testbed.cloud.layout import Layout, http_url, load_secrets, write_private
from testbed.cloud.processes import CloudError
from testbed.cloud.services import EPMD, STORES, Service, services

Progress = Callable[[str], None]


class Cloud:
    """Keystone, Zaqar, Heat and their stores, below `directory` and on one address.

    `token_lifetime` is the life of a Keystone token in seconds, `heat_options` are more options
    of heat.conf's section DEFAULT; with `costly_passwords` Keystone hashes passwords as it does by
    default, for what is measured, and else as quickly as it can. A change of these takes effect at
    the next `up`. `venv` is where the Python services are installed, beside `directory` by default.
    `with_nova` adds Placement, Glance, Neutron and Nova, for as long as the directory lives;
    `with_pairs` makes Zaqar one of two of everything (`pairs`), in a directory of its own.
    """

    def __init__(
        self,
        directory: Path,
        token_lifetime: int = 3600,
        venv: Path | None = None,
        heat_options: Mapping[str, object] | None = None,
        with_nova: bool = False,
        with_pairs: bool = False,
        costly_passwords: bool = False,
    ) -> None:
        """Describe a cloud; nothing is read, written or started yet."""
        directory = directory.absolute()
        self.layout = Layout(directory, venv or directory.with_name(f"{directory.name}-venv"))
        self._token_lifetime = token_lifetime
        self._heat_options = heat_options or {}
        self._with_pairs = with_pairs
        self._costly_passwords = costly_passwords
        self._with_nova = with_nova or self.layout.with_nova.exists()

    @property
    def auth_url(self) -> str:
        """Keystone's address for clients."""
        return f"{http_url('keystone')}/v3"

    @property
    def clouds_yaml(self) -> Path:
        """A file for OS_CLIENT_CONFIG_FILE, with the entries `demo` and `admin`; `up` writes it."""
        return self.layout.directory / "clouds.yaml"

    @property
    def log_directory(self) -> Path:
        """Where SERVICE.log of each service is."""
        return self.layout.log

    @property
    def service_names(self) -> list[str]:
        """The services' names, stores first."""
        return [name for name in self._services if name != EPMD]

    def admin_session(self) -> Session:
        """Return a session of the project that owns the stacks; it logs in at its first use.

        The user may do everything with stacks and queues, and nothing in Keystone.
        """
        return identity.session("demo", self._secrets["demo"], identity.DEMO_PROJECT)

    def add_region(self, region: str, endpoints: Mapping[str, str]) -> None:
        """Give a region of the catalog these endpoints, by service type.

        A guest that is told this region finds there what a test put between it and a service.
        """
        identity.add_region(self._secrets, region, endpoints)

    def changed_catalog(self, endpoints: Mapping[str, str | None]) -> AbstractContextManager[None]:
        """Change the catalog meanwhile; tokens that were made before keep the one they have.

        `endpoints` are URLs by service type, or None for a service that shall not be there.
        """
        return identity.changed_catalog(self._secrets, endpoints)

    def install(self, progress: Progress) -> None:
        """Install the services, which takes a package index; `up` then takes no network.

        Raises CloudError where the installation fails.
        """
        with self._locked():
            self._install(progress)

    def up(self, progress: Progress) -> None:
        """Install, prepare and start whatever is not up, and wait until all of it answers.

        `progress` gets one line for each step, from several threads. Raises CloudError, naming
        the service and with the end of its log, where one does not start, and naming what the
        machine lacks for Nova.
        """
        if self._with_nova:
            nova.require_machine()
        with self._locked():
            self._install(progress)
            if self._with_nova:
                self.layout.with_nova.touch()
            write_private(self.clouds_yaml, identity.clouds_yaml(self._secrets))
            self._launch(progress).bring_up(list(self._services.values()))

    def down(self) -> None:
        """Stop everything that this cloud started; the stores after those that use them."""
        rounds = (
            [name for name in self.service_names if name not in STORES],
            list(STORES),
            [EPMD],
        )
        with self._locked():
            for names in rounds:
                with ThreadPoolExecutor(len(names)) as pool:
                    list(pool.map(self._stop, names))

    def status(self) -> dict[str, bool]:
        """Return for each service whether its process runs and, having a port, answers."""
        names = self.service_names
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(self._serves, names), strict=True))

    def stop(self, service: str) -> None:
        """Stop one service, and leave those that use it alone.

        Raises CloudError where there is no such service.
        """
        names = self._processes_of(service)
        with self._locked():
            for name in reversed(names):
                self._stop(name)

    def start(self, service: str) -> None:
        """Start one service and wait until it answers; what it uses must be up.

        Raises CloudError where there is no such service or it does not answer.
        """
        names = self._processes_of(service)
        with self._locked():
            launch = self._launch(lambda _: None)
            launch.bring_up([self._services[name] for name in names])

    @cached_property
    def _secrets(self) -> dict[str, str]:
        self.layout.create()
        return load_secrets(self.layout)

    @cached_property
    def _services(self) -> dict[str, Service]:
        engine = probes.heat_engine(self.admin_session())
        base = services(self.layout, self._secrets, engine)
        if self._with_pairs:
            base = pairs.services(self.layout, base)
        return base | nova.services(self.layout, self._secrets) if self._with_nova else base

    def _processes_of(self, service: str) -> list[str]:
        if service not in self.service_names:
            raise CloudError(f"no service {service}; there are {', '.join(self.service_names)}")
        return [EPMD, service] if service == "rabbitmq" else [service]

    def _install(self, progress: Progress) -> None:
        log = self.layout.log_file("install")
        environment.ensure(self.layout.venv, log, progress)
        if self._with_nova:
            environment.ensure(self.layout.nova_venv, log, progress, nova.REQUIREMENTS)

    def _launch(self, progress: Progress) -> Launch:
        databases = (*configuration.DATABASES, *(nova.DATABASES if self._with_nova else ()))
        files = configuration.files(
            self.layout,
            self._secrets,
            self._token_lifetime,
            self._heat_options,
            self._costly_passwords,
            databases,
        )
        if self._with_pairs:
            files |= pairs.files(self.layout, self._secrets)
        if self._with_nova:
            files |= nova.files(self.layout, self._secrets)
        return Launch(self.layout, files, progress)

    def _stop(self, name: str) -> None:
        processes.stop(self.layout.record(name), self._services[name].grace)

    def _serves(self, name: str) -> bool:
        if not processes.running(self.layout.record(name)):
            return False
        # The engine answers only through Heat's API, whose state is reported by itself.
        return name == "heat-engine" or self._services[name].probe()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.layout.create()
        with (self.layout.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
