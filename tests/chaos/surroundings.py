"""What surrounds one guest, in a process of its own: its proxies and its Heat.

In a process of its own because the guest's programs are forked, which threads must not see.
Invariant: commands are carried out one after the other, in the order of the calls.
"""

import os
import signal
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from testbed.cloud.layout import HOST, PORTS
from tests.chaos.heat import PlayedHeat
from tests.chaos.orchestration import OrchestrationApi
from tests.chaos.tenant import Place, Tenant
from tests.faults import proxy

OUTAGES = ("refused", "reset_before", "reset_after", "empty", "503")
# What something between guest and service says in its place; 302 leads to a page that says 200.
REFUSALS = ("302", "403", "404", "407", "502")


class Surroundings:
    """Calls into the process; one at a time."""

    def __init__(self, tenant: Tenant, place: Place) -> None:
        self.token = tenant.guest_token
        self.password = tenant.password
        ours, theirs = Pipe()
        self._calls = ours
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _Side(tenant, place).serve(theirs)
            os._exit(0)
        theirs.close()

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of `_Side`, or of its Heat; return what it returns.

        :raises RuntimeError: it raised.
        """
        self._calls.send((name, arguments))
        error, result = self._calls.recv()
        if error:
            raise RuntimeError(f"{name}: {error}")
        return result

    def close(self) -> None:
        """End the process."""
        self._calls.close()
        os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)


class _Side:
    def __init__(self, tenant: Tenant, place: Place) -> None:
        self._tenant = tenant
        self._place = place
        self._api = OrchestrationApi()
        self._heat: PlayedHeat | None = None
        self._copys_heat: PlayedHeat | None = None
        self._proxies = {
            "keystone": proxy.FaultProxy(PORTS["keystone"], place.keystone),
            "zaqar": proxy.FaultProxy(PORTS["zaqar"], place.zaqar),
            "heat": proxy.FaultProxy(self._api.port, place.heat),
        }
        self._portal = proxy.FaultProxy(0)
        self._portal.fault = _login_page

    def serve(self, calls: Connection) -> None:
        while True:
            try:
                name, arguments = calls.recv()
            except EOFError:
                return
            try:
                owner = self if hasattr(self, name) else self._heat
                calls.send(("", getattr(owner, name)(*arguments)))
            except Exception as error:  # noqa: BLE001 # the caller gets it
                calls.send((repr(error), None))

    def begin(self, seed: int, source: str = "zaqar", local: str = "") -> dict[str, str]:
        """Begin a history; return the guest's login and queue."""
        self.open()
        self._heat = PlayedHeat(self._tenant, self._place, seed, source, local)
        self._api.heats = [self._heat]
        return self._heat.section

    def begin_copy(self, seed: int) -> tuple[dict[str, Any], str]:
        """Begin another stack, with a deployment; return its server's first metadata and id.

        It is reached by its queues alone: this Heat's own API is the first stack's.
        """
        self._copys_heat = PlayedHeat(self._tenant, self._place, seed)
        self._copys_heat.create(1)
        return self._copys_heat.first_metadata()

    def copy_waits(self) -> int:
        """Look for the signals of the other stack; return how many it still waits for."""
        assert self._copys_heat
        return self._copys_heat.poll()

    def end_copy(self) -> dict[str, Any]:
        """End the other stack; return what happened."""
        assert self._copys_heat
        return self._copys_heat.end()

    def outage(self, service: str, kind: str, times: int, wanted: str = "") -> None:
        """Let a service be away: refuse connections, or break so many requests.

        :param kind: `refused`, a status, or the name of a fault in `tests.faults.proxy`.
        :param wanted: what the request line of a request to break must hold.
        """
        one = self._proxies[service]
        if kind == "refused":
            one.refuse()
        elif kind.isdigit():
            page = f"http://{HOST}:{self._portal.port}/login"
            headers = {"Location": page} if kind == "302" else {"Retry-After": "1"}
            one.only(proxy.status(int(kind), headers), times, wanted)
        else:
            one.only(getattr(proxy, kind), times, wanted)

    def requests(self, service: str) -> list[str]:
        """Return the request lines that a service's proxy saw."""
        return self._proxies[service].requests

    def open(self) -> None:
        """End all outages."""
        for one in self._proxies.values():
            one.fault = proxy.passed_on
            one.accept()


def _login_page(exchange: proxy.Exchange) -> None:
    text = b"<html>please log in</html>"
    exchange.send(proxy.answer(200, text, {"Content-Type": "text/html"}))
