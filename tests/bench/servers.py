"""Servers of a real Heat for the guests to be, and metadata messages as Heat posts them.

The format is that of `_push_metadata_software_deployments` (heat.engine.service_software_config):
the server's whole metadata as body, a TTL of an hour.
Invariant: a message that follows another carries a newer config for the same signal queue, as
after a stack update, so that no guest has reason to think that a deployment was lost.
"""

import copy
import itertools
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from testbed.cloud import Cloud
from testbed.cloud.layout import REGION
from testbed.heat import SERVER, Heat, Script, deployments_template

Metadata = dict[str, Any]
_TTL_SECONDS = 3600
_STACK = "bench"
_DEADLINE_SECONDS = 300.0


class Servers:
    """A stack of servers that have no guest yet, and one deployment that is complete.

    :ivar metadata: of each server, as its guest gets it.
    :ivar deployment: as Heat describes it to a guest; the model for others.
    :ivar zaqar: all queues of the stack.
    """

    def __init__(self, cloud: Cloud, number: int) -> None:
        heat = Heat(cloud.admin_session())
        template = deployments_template({"model": Script("#!/bin/sh\n")})
        names = [f"{SERVER}{place}" for place in range(number)]
        for name in names:
            template["resources"][name] = template["resources"][SERVER]
        heat.delete_stack(_STACK)
        heat.create_stack(_STACK, template)
        self.zaqar = Zaqar(heat.server_metadata_when_ready(_STACK, timeout=_DEADLINE_SECONDS))
        self.deployment = self.zaqar.wait_for_deployment(_DEADLINE_SECONDS)
        self.zaqar.post(input_of(self.deployment, "deploy_queue_id"), {"deploy_status_code": 0})
        heat.wait_for(_STACK, ["CREATE_COMPLETE"], _DEADLINE_SECONDS)
        self.metadata = [heat.server_metadata(_STACK, name) for name in names]


class Zaqar:
    """The queues of a stack's project, by the login of one of its servers."""

    def __init__(self, metadata: Metadata) -> None:
        login = metadata["os-collect-config"]["zaqar"]
        self._queue = login["queue_id"]
        self._http = requests.Session()
        self._http.trust_env = False
        self._auth = v3.Password(
            auth_url=login["auth_url"],
            user_id=login["user_id"],
            password=login["password"],
            project_id=login["project_id"],
        )
        self._session = Session(auth=self._auth, session=self._http)
        self._url = (
            f"{self._session.get_endpoint(service_type='messaging', region_name=REGION)}/v2/queues"
        )
        self._http.headers["Client-ID"] = str(uuid.uuid4())
        self.renew_token()

    def renew_token(self) -> None:
        """Log in, and go on with the new token."""
        self._session.invalidate()
        self._http.headers["X-Auth-Token"] = self._session.get_token() or ""

    def login(self) -> None:
        """Log in once more, for nothing."""
        self._auth.get_auth_ref(self._session)

    def post(self, queue: str, body: Metadata) -> None:
        """Post one message."""
        self._request(
            "POST", f"{queue}/messages", {"messages": [{"body": body, "ttl": _TTL_SECONDS}]}
        )

    def empty(self, queue: str) -> None:
        """Delete all messages and subscriptions of a queue."""
        self._request("POST", f"{queue}/purge", {"resource_types": ["messages", "subscriptions"]})

    def wait_for_deployment(self, seconds: float) -> Metadata:
        """Wait until Heat has posted a deployment for the server that this is the login of.

        :raises TimeoutError: it has not within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in self._request("GET", f"{self._queue}/messages").json()["messages"]:
                for deployment in message["body"]["deployments"]:
                    return dict(deployment)
            time.sleep(0.5)
        raise TimeoutError(f"no deployment in queue {self._queue} after {seconds:.0f} s")

    def _request(self, method: str, path: str, body: Metadata | None = None) -> requests.Response:
        answer = self._http.request(method, f"{self._url}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer


class Configs:
    """Makes deployments like a model of Heat's: each a newer config, with an id of its own."""

    def __init__(self, model: Metadata) -> None:
        self._model = model
        self._numbers = itertools.count(1)
        self._epoch = datetime.now(UTC)

    def next(self, queue: str, group: str = "script", config: str = "") -> Metadata:
        """Return the next deployment, which signals to `queue`."""
        number = next(self._numbers)
        made = copy.deepcopy(self._model)
        created = self._epoch + timedelta(seconds=number)
        made.update(
            id=f"bench-{number:06}-{uuid.uuid4()}",
            creation_time=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            group=group,
            config=config,
        )
        for item in made["inputs"]:
            if item["name"] == "deploy_queue_id":
                item["value"] = queue
        return made


def input_of(deployment: Metadata, name: str) -> str:
    """Return the value of a deployment's input."""
    return next(str(item["value"]) for item in deployment["inputs"] if item["name"] == name)


def queue_of(metadata: Metadata) -> str:
    """Return the name of a server's metadata queue."""
    return str(metadata["os-collect-config"]["zaqar"]["queue_id"])
