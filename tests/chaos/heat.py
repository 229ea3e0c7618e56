"""Heat's part towards one guest: posts snapshots to the real Zaqar, pops signals as Heat does.

What it does follows heat.engine.resources.openstack.heat.software_deployment and
heat.engine.service_software_config: a resource keeps its signal queue for life, an update makes a
new config for it, every change posts a whole snapshot, the queue of each resource in progress is
popped now and then (here whenever a history says so), the first message completes the resource
whatever config it is for, and Heat's own API ignores a signal for a resource not in progress.
Invariant: `troubles` holds each signal that was wrong: stale, double or foreign.
"""

import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import requests

from testbed.cloud.layout import HOST, http_url
from tests.chaos.tenant import Place, Tenant
from tests.unit.conftest import make_deployment


@dataclass
class Resource:
    """One SoftwareDeployment resource and the configs that it ever had, oldest first."""

    name: str
    queue: str
    transport: str = "ZAQAR_SIGNAL"
    configs: list[str] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    in_progress: bool = False
    exists: bool = True


@dataclass
class Signal:
    """One signal that Heat took."""

    resource: str
    config: str
    way: str
    body: dict[str, Any]


class PlayedHeat:
    """Heat for one server.

    :param service_port: where its own API listens.
    """

    def __init__(self, tenant: Tenant, place: Place, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311
        self.server = str(uuid.UUID(int=self.random.getrandbits(128)))
        self.resources: dict[str, Resource] = {}
        self.signals: list[Signal] = []
        self.troubles: list[str] = []
        self.asked = 0
        self.script = "#!/bin/sh\necho hello\n"
        self._tenant = tenant
        self._place = place
        self._stack = f"history-{seed}"
        # No two histories share a queue, not even with those of a run before.
        self._unique = uuid.uuid4().hex[:8]
        self._queue = f"{self._stack}-server-{self._unique}"
        self._created = 0
        self._old: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["X-Auth-Token"] = tenant.token
        self._http.headers["Client-ID"] = str(uuid.uuid4())

    @property
    def section(self) -> dict[str, str]:
        """What the guest's metadata says about its queue and login."""
        return self._tenant.section(self._place, self._queue)

    def create(self, number: int) -> None:
        """Create resources; each one's creation posts a snapshot, in any order and some twice."""
        with self._lock:
            snapshots = []
            for _ in range(number):
                name = f"r{len(self.resources)}"
                queue = f"{self._stack}-{name}-{self._unique}"
                self.resources[name] = Resource(name, queue)
                self._new_config(self.resources[name], "CREATE")
                snapshots.append(self.snapshot())
        self._post_shuffled(snapshots)

    def update(self, number: int, interrupt: bool = False) -> None:
        """Update resources; those in progress only where Heat gives up on them first."""
        with self._lock:
            found = [
                item
                for item in self.resources.values()
                if item.exists and item.in_progress == interrupt
            ]
            snapshots = []
            for item in self.random.sample(found, min(number, len(found))):
                # A signal that arrived before Heat gave up is one for the old config.
                if item.in_progress and self._pop(item):
                    continue
                self._new_config(item, "UPDATE")
                snapshots.append(self.snapshot())
            # Under the lock: what is popped from now on must be for the new config.
            self._post_shuffled(snapshots)

    def delete(self, number: int) -> None:
        """Delete resources."""
        with self._lock:
            found = [item for item in self.resources.values() if item.exists]
            snapshots = []
            for item in self.random.sample(found, min(number, len(found))):
                item.exists = item.in_progress = False
                snapshots.append(self.snapshot())
        self._post_shuffled(snapshots)

    def set_script(self, text: str) -> None:
        """Set the script of each config from now on."""
        self.script = text

    def repeat(self) -> None:
        """Post a snapshot of before once more: a message that was late, or is there twice."""
        if self._old:
            self._post(self.random.choice(self._old))

    def snapshot(self) -> dict[str, Any]:
        """Return the server's metadata as it is now."""
        with self._lock:
            deployments = [item.document for item in self.resources.values() if item.exists]
        collectors = {"collectors": ["zaqar", "local"], "zaqar": self.section}
        return {"deployments": deployments, "os-collect-config": collectors}

    def waiting(self) -> list[str]:
        """Return the resources in progress."""
        with self._lock:
            return [item.name for item in self.resources.values() if item.in_progress]

    def poll(self) -> int:
        """Pop one message for each resource in progress; return how many are still that."""
        for name in self.waiting():
            with self._lock:
                self._pop(self.resources[name])
        return len(self.waiting())

    def take_signal(self, name: str, body: Any, way: str) -> None:
        """Take a signal for a resource: ignore it where that is not in progress."""
        with self._lock:
            item = self.resources.get(name)
            if item is None or not item.in_progress:
                return
            self._complete(item, body, way)

    def end(self) -> dict[str, Any]:
        """Stop; return what happened, with what nobody may have left in the signal queues."""
        for item in self.resources.values():
            for body in self._take(item.queue, 20):
                if item.exists:
                    about = body.get("deploy_config_id") if isinstance(body, dict) else body
                    self.troubles.append(f"double: a signal of {about} is left for {item.name}")
        configs = {item.name: item.configs for item in self.resources.values()}
        wanted = [item.configs[-1] for item in self.resources.values() if item.exists]
        return {
            "configs": configs,
            "wanted": wanted,
            "lost": [self.resources[name].configs[-1] for name in self.waiting()],
            "signals": [vars(signal) for signal in self.signals],
            "troubles": self.troubles,
            "asked": self.asked,
        }

    def _new_config(self, item: Resource, action: str) -> None:
        self._created += 1
        config = str(uuid.UUID(int=self.random.getrandbits(128)))
        minutes, seconds = divmod(self._created, 60)
        login = self.section
        item.configs.append(config)
        item.in_progress = True
        item.document = make_deployment(
            config,
            name=item.name,
            config=self.script,
            creation_time=f"2026-11-22T15:{minutes:02}:{seconds:02}Z",
            deploy_server_id=self.server,
            deploy_action=action,
            deploy_stack_id=f"{self._stack}/{self.server}",
            deploy_resource_name=item.name,
            deploy_signal_transport=item.transport,
            deploy_auth_url=login["auth_url"],
            deploy_user_id=login["user_id"],
            deploy_password=login["password"],
            deploy_project_id=login["project_id"],
            deploy_region_name=login["region_name"],
            deploy_queue_id=item.queue,
        )

    def _post_shuffled(self, snapshots: list[dict[str, Any]]) -> None:
        self._old += snapshots
        posted = list(snapshots)
        if self.random.random() < 0.3:
            self.random.shuffle(posted)
        if posted and self.random.random() < 0.2:
            posted.append(self.random.choice(posted))
        for body in posted:
            self._post(body)

    def _post(self, body: dict[str, Any]) -> None:
        messages = {"messages": [{"body": body, "ttl": 3600}]}
        self._ask("POST", f"{self._queue}/messages", json=messages)

    def _pop(self, item: Resource) -> bool:
        """Pop one message as Heat does; return whether there was one."""
        if not item.in_progress:
            return False
        taken = self._take(item.queue, 1)
        for body in taken:
            self._complete(item, body, "queue")
        return bool(taken)

    def _take(self, queue: str, number: int) -> list[Any]:
        answer = self._ask("DELETE", f"{queue}/messages?pop={number}")
        return [message["body"] for message in answer.get("messages", [])]

    def _complete(self, item: Resource, body: Any, way: str) -> None:
        current = item.configs[-1]
        about = current
        if isinstance(body, dict):
            about = body.get("deploy_config_id") or str(body.get("result", current)).split()[0]
        if about != current:
            kind = "stale" if about in item.configs else "foreign"
            self.troubles.append(f"{kind}: {item.name} wants {current}, got {about} by {way}")
        item.in_progress = False
        self.signals.append(Signal(item.name, current, way, body))

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        """Ask the real Zaqar, for as long as it takes to come back from an outage."""
        deadline = time.monotonic() + 120
        while True:
            try:
                address = f"{http_url('zaqar')}/v2/queues/{path}"
                answer = self._http.request(method, address, timeout=10, **more)
                answer.raise_for_status()
                return answer.json() if answer.content else {}
            except requests.RequestException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


class OrchestrationApi:
    """Heat's own API, as far as a stack user may call it; knows one `PlayedHeat` at a time."""

    def __init__(self) -> None:
        api = self
        self.heat: PlayedHeat | None = None

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heat = api.heat
                if heat is None or not self.path.endswith(
                    f"/software_deployments/metadata/{heat.server}"
                ):
                    self._answer(404, {})
                    return
                heat.asked += 1
                self._answer(200, {"metadata": heat.snapshot()["deployments"]})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                parts = self.path.split("/")
                if api.heat is None or parts[-1] != "signal":
                    self._answer(404, {})
                    return
                api.heat.take_signal(parts[-2], body, "Heat's API")
                self._answer(200, {})

            def _answer(self, status: int, body: Any) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
