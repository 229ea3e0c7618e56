"""Heat's part towards one guest: hands out snapshots, takes signals, by each of its transports.

What it does follows heat.engine.resources.openstack.heat.software_deployment and
heat.engine.service_software_config: a resource keeps its signal queue, object or URL for life, an
update makes a new config for it, every change posts a whole snapshot where the server has a queue,
queue and object of each resource in progress are looked at now and then (here whenever a history
says so), the first message completes the resource whatever config it is for, an object that is
older than the update does not, and Heat's own APIs ignore a signal for a resource not in progress.
Invariant: `troubles` holds each signal that was wrong: stale, double or foreign.
"""

import json
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import requests

from heat_config_zaqar.deployment import parse_deployment
from testbed.cloud.layout import HOST, http_url
from tests.chaos.hostile import ENTRIES, NEIGHBOURS, SIGNATURE, Hostile
from tests.chaos.tenant import Place, Tenant
from tests.unit.conftest import make_deployment

# `software_config_transport` of the server, by the collector that it needs.
SOURCES = {
    "zaqar": "ZAQAR_MESSAGE",
    "heat": "POLL_SERVER_HEAT",
    "cfn": "POLL_SERVER_CFN",
    "local": "by hand",
}
# Deployments with these carry a login, by which a guest can ask what Heat has now.
_WITH_LOGIN = ("ZAQAR_SIGNAL", "HEAT_SIGNAL")


@dataclass
class Resource:
    """One SoftwareDeployment resource and the configs that it ever had, oldest first.

    :ivar updated: when Heat made its newest config, on the clock of the objects.
    """

    name: str
    queue: str
    transport: str = "ZAQAR_SIGNAL"
    hostile: Hostile = field(default_factory=Hostile)
    configs: list[str] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    in_progress: bool = False
    exists: bool = True
    updated: int = 0

    @property
    def signals(self) -> int | None:
        """How many signals Heat gets for each config; None where none can reach it."""
        return 0 if self.transport == "NO_SIGNAL" else self.hostile.signals


@dataclass
class Signal:
    """One signal that Heat took."""

    resource: str
    config: str
    way: str
    body: dict[str, Any]


class PlayedHeat:
    """Heat for one server.

    :param source: one of `SOURCES`.
    :param local: where the operator puts the metadata, for the source `local`.
    """

    def __init__(
        self, tenant: Tenant, place: Place, seed: int, source: str = "zaqar", local: str = ""
    ) -> None:
        self.random = Random(seed)  # noqa: S311
        self.server = str(uuid.UUID(int=self.random.getrandbits(128)))
        self.resources: dict[str, Resource] = {}
        self.signals: list[Signal] = []
        self.troubles: list[str] = []
        self.asked = 0
        self.script = "#!/bin/sh\necho hello\n"
        self._source = source
        self._local = Path(local)
        self._entries: list[Any] = []
        self._objects: dict[str, tuple[int, Any]] = {}
        self._now = 0
        self._tenant = tenant
        self._place = place
        self._stack = f"history-{seed}"
        # No two histories share a queue, not even with those of a run before.
        self._unique = uuid.uuid4().hex[:8]
        self._stack_id = f"{self._stack}/{self.server}"
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

    def first_metadata(self) -> tuple[dict[str, Any], str]:
        """Return what the server is handed first, and the id that Nova gives it."""
        return {**self.snapshot(), "deployments": []}, self.server

    def names(self) -> tuple[str, ...]:
        """Return what a request about this stack has in it, whichever service it goes to."""
        return (f"{self._stack}-", f"{self._stack}/", self.server)

    def configuration(self) -> dict[str, str]:
        """Return the section of os-collect-config.conf that is named as the source."""
        login = self._tenant.section(self._place, self._queue)
        if self._source == "zaqar":
            return login
        if self._source == "heat":
            del login["queue_id"]
            return {**login, "stack_id": self._stack_id, "resource_name": "server"}
        if self._source == "local":
            return {"path": str(self._local)}
        return {
            "metadata_url": f"http://{HOST}:{self._place.heat}/cfn/v1/",
            "access_key_id": "key",
            "secret_access_key": self._tenant.password,
            "stack_name": self._stack,
            "path": "server.Metadata",
        }

    def create(
        self,
        number: int,
        transports: Sequence[str] = ("ZAQAR_SIGNAL",),
        hostile: Sequence[str] = (),
    ) -> None:
        """Create resources; each one's creation posts a snapshot, in any order and some twice.

        :param transports: of the resources, over and over.
        :param hostile: keys of `NEIGHBOURS` for the first of them.
        """
        with self._lock:
            snapshots = []
            for index in range(number):
                kind = NEIGHBOURS[hostile[index]] if index < len(hostile) else Hostile()
                count = len(self.resources)
                name = f"r{count}{kind.resource}"
                queue = f"{self._stack}-r{count}-{self._unique}"
                transport = kind.transport or transports[index % len(transports)]
                self.resources[name] = Resource(name, queue, transport, kind)
                self._new_config(self.resources[name], "CREATE")
                snapshots.append(self.snapshot())
        self._post_shuffled(snapshots)

    def put_entries(self, number: int) -> None:
        """Have entries in the list from now on that are no deployments; post that."""
        with self._lock:
            self._entries = self.random.sample(ENTRIES, number)
            snapshot = self.snapshot()
        self._post_shuffled([snapshot])

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
        # Of a file by hand nobody says that it is old: only what is over may be in it again.
        if self._old and (self._source != "local" or not self.waiting()):
            self._post(self.random.choice(self._old))

    def refresh(self) -> None:
        """Have the operator put the metadata where the guest looks, as it is now."""
        if self._source == "local":
            self._post(self.snapshot())

    def snapshot(self) -> dict[str, Any]:
        """Return the server's metadata as it is now."""
        with self._lock:
            deployments = [item.document for item in self.resources.values() if item.exists]
        middle = len(self._entries) // 2
        listed = [*self._entries[:middle], *deployments, *self._entries[middle:]]
        collectors = {"collectors": [self._source, "local"], self._source: self.configuration()}
        return {"deployments": listed, "os-collect-config": collectors}

    def waiting(self) -> list[str]:
        """Return the resources in progress that a signal can reach."""
        with self._lock:
            return [
                item.name
                for item in self.resources.values()
                if item.in_progress and item.signals is not None
            ]

    def newest(self) -> str:
        """Return the config that was made last."""
        return list(self.resources.values())[-1].configs[-1]

    def silent(self) -> list[str]:
        """Return the newest configs of the resources that ask for no signal."""
        with self._lock:
            return [
                item.configs[-1]
                for item in self.resources.values()
                if item.exists and item.transport == "NO_SIGNAL" and item.hostile.runs
            ]

    def poll(self) -> int:
        """Look for a signal of each resource in progress; return how many are still that."""
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

    def put_object(self, name: str, body: Any) -> None:
        """Keep what was put to the URL of a TEMP_URL_SIGNAL deployment, over what was there."""
        with self._lock:
            self._now += 1
            self._objects[name] = (self._now, body)

    def forget_subscriptions(self) -> int:
        """Lose the guest's subscriptions, as a store of Zaqar that fails over does."""
        found = self._ask("GET", f"{self._queue}/subscriptions").get("subscriptions", [])
        for item in found:
            self._ask("DELETE", f"{self._queue}/subscriptions/{item['id']}")
        return len(found)

    def end(self) -> dict[str, Any]:
        """Stop; return what happened, with what nobody may have left in the signal queues."""
        for item in self.resources.values():
            for body in self._take(item.queue, 20):
                if item.exists:
                    about = body.get("deploy_config_id") if isinstance(body, dict) else body
                    self.troubles.append(f"double: a signal of {about} is left for {item.name}")
        configs = {item.name: item.configs for item in self.resources.values()}
        wanted = {
            item.configs[-1]: (item.hostile.runs, item.signals)
            for item in self.resources.values()
            if item.exists
        }
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
        self._now += 1
        config = item.hostile.config_id.format(uuid.UUID(int=self.random.getrandbits(128)))
        minutes, seconds = divmod(self._created, 60)
        # An id that is no file name goes by its digest in the guest, for the hook as well.
        item.configs.append(parse_deployment({"id": config}).id)
        item.updated = self._now
        item.in_progress = item.transport != "NO_SIGNAL"
        item.document = make_deployment(
            config,
            name=item.name,
            config=self.script,
            creation_time=f"2026-11-22T15:{minutes:02}:{seconds:02}Z",
            options={"prints": item.hostile.prints} if item.hostile.prints else {},
            deploy_server_id=self.server,
            deploy_action=action,
            deploy_stack_id=self._stack_id,
            deploy_resource_name=item.name,
            deploy_signal_transport=item.transport,
        )
        self._add_way_back(item)
        item.hostile.change(item.document)

    def _add_way_back(self, item: Resource) -> None:
        """Put in the inputs that the transport has, and no others."""
        login = self._tenant.section(self._place, item.queue)
        inputs = {entry["name"]: entry for entry in item.document["inputs"]}
        ways = {f"deploy_{key}": value for key, value in login.items()}
        if item.transport != "ZAQAR_SIGNAL":
            del ways["deploy_queue_id"]
        if item.transport not in _WITH_LOGIN:
            ways = {}
        base = f"http://{HOST}:{self._place.heat}"
        name = quote(item.name, safe="")
        if item.transport == "CFN_SIGNAL":
            url = f"{base}/cfn/v1/signal/{self.server}/{name}?Signature={SIGNATURE}"
            ways = {"deploy_signal_id": url, "deploy_signal_verb": "POST"}
        if item.transport == "TEMP_URL_SIGNAL":
            url = f"{base}/swift/{self.server}/{name}?temp_url_sig={SIGNATURE}"
            ways = {"deploy_signal_id": url, "deploy_signal_verb": "PUT"}
        for key in ("auth_url", "user_id", "password", "project_id", "region_name", "queue_id"):
            inputs.pop(f"deploy_{key}", None)
        more = [{"name": key, "type": "String", "value": value} for key, value in ways.items()]
        item.document["inputs"] = [*inputs.values(), *more]

    def _post_shuffled(self, snapshots: list[dict[str, Any]]) -> None:
        self._old += snapshots
        posted = list(snapshots)
        if self.random.random() < 0.3:
            self.random.shuffle(posted)
        if posted and self.random.random() < 0.2:
            posted.append(self.random.choice(posted))
        for body in posted:
            self._post(body)
        self.refresh()

    def _post(self, body: dict[str, Any]) -> None:
        if self._source == "local":
            path = self._local / "heat"
            path.with_name(".new").write_text(json.dumps(body))
            path.with_name(".new").rename(path)
        if self._source != "zaqar":
            return
        messages = {"messages": [{"body": body, "ttl": 3600}]}
        self._ask("POST", f"{self._queue}/messages", json=messages)

    def _pop(self, item: Resource) -> bool:
        """Take one signal that waits, as Heat does; return whether there was one."""
        if not item.in_progress:
            return False
        if item.transport == "TEMP_URL_SIGNAL":
            when, body = self._objects.get(item.name, (0, None))
            if when > item.updated:
                self._complete(item, body, "object")
            return when > item.updated
        taken = self._take(item.queue, 1)
        for body in taken:
            self._complete(item, body, "queue")
        return bool(taken)

    def _take(self, queue: str, number: int) -> list[Any]:
        """Take the oldest messages. Heat pops: a pop whose answer is lost would be lost by us."""
        found = self._ask("GET", f"{queue}/messages?echo=true&limit={number}").get("messages", [])
        for message in found:
            self._ask("DELETE", f"{queue}/messages/{message['id']}")
        return [message["body"] for message in found]

    def _complete(self, item: Resource, body: Any, way: str) -> None:
        current = item.configs[-1]
        about = current
        if isinstance(body, dict):
            about = body.get("deploy_config_id") or str(body.get("result", current)).split(" ")[0]
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
