"""The cloud that every other integration test stands on does what these tests rely on."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from testbed.cloud import Cloud, CloudError
from testbed.cloud.layout import REGION
from testbed.heat import Heat, Script, deployments_template
from tests.bench.store_monitor import StoreMonitor

DEADLINE_SECONDS = 60.0


class Guest:
    """A guest that only has what Heat's metadata gives it, and speaks plain HTTP."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        zaqar = metadata["os-collect-config"]["zaqar"]
        transport = requests.Session()
        transport.trust_env = False
        auth = v3.Password(
            auth_url=zaqar["auth_url"],
            user_id=zaqar["user_id"],
            password=zaqar["password"],
            project_id=zaqar["project_id"],
        )
        # Logs in anew when its token has expired.
        self._session = Session(
            auth=auth,
            session=transport,
            timeout=60,
            additional_headers={"Client-ID": str(uuid.uuid4())},
        )
        self.auth_url = zaqar["auth_url"]
        self.queue = zaqar["queue_id"]
        self._zaqar = self._session.get_endpoint(service_type="messaging", region_name=REGION)

    def messages(self) -> list[dict[str, Any]]:
        return [message["body"] for message in self._listing()]

    def empty(self) -> None:
        """Take all messages out of the metadata queue."""
        while found := [message["id"] for message in self._listing()]:
            self._session.delete(self._url(self.queue), params={"ids": found})

    def pop(self, queue: str) -> list[dict[str, Any]]:
        """Read and delete the oldest message."""
        answer = self._session.delete(self._url(queue), params={"pop": 1})
        popped = answer.json()["messages"] if answer.content else []
        return [message["body"] for message in popped]

    def subscriptions(self, queue: str) -> list[tuple[str, str]]:
        """Return (id, address) of each subscriber of a queue."""
        answer = self._session.get(self._url(queue, "subscriptions"))
        return [(item["id"], item["subscriber"]) for item in answer.json()["subscriptions"]]

    def subscribe(self, queue: str, address: str) -> None:
        body = {"subscriber": address, "ttl": 3600, "options": {}}
        self._session.post(self._url(queue, "subscriptions"), json=body)

    def unsubscribe(self, queue: str) -> list[str]:
        """End all subscriptions of a queue; return the addresses of the subscribers."""
        found = self.subscriptions(queue)
        for subscription_id, _ in found:
            self._session.delete(f"{self._url(queue, 'subscriptions')}/{subscription_id}")
        return [address for _, address in found]

    def _listing(self) -> list[dict[str, Any]]:
        params = {"limit": "20", "echo": "true"}
        answer = self._session.get(self._url(self.queue), params=params)
        listed: list[dict[str, Any]] = answer.json()["messages"]
        return listed

    def _url(self, queue: str, part: str = "messages") -> str:
        return f"{self._zaqar}/v2/queues/{queue}/{part}"

    def wait_for_deployment(self) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            for message in self.messages():
                if message["deployments"]:
                    deployment: dict[str, Any] = message["deployments"][0]
                    return deployment
            time.sleep(0.2)
        pytest.fail(f"no deployment in queue {self.queue}")

    def post(self, queue: str, body: dict[str, Any]) -> None:
        messages = {"messages": [{"body": body, "ttl": 300}]}
        self._session.post(self._url(queue), json=messages)


@pytest.fixture(name="stack_name")
def stack_name_fixture(heat: Heat) -> Iterator[str]:
    name = f"cloud-{uuid.uuid4().hex[:8]}"
    yield name
    heat.delete_stack(name)


def start_deployment(heat: Heat, name: str) -> Guest:
    script = Script("echo hello", inputs={"colour": "blue"}, outputs=["answer"])
    heat.create_stack(name, deployments_template({"hello": script}))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while heat.resource_statuses(name).get("server") != "CREATE_COMPLETE":
        assert time.monotonic() < deadline, heat.stack(name)
        time.sleep(0.2)
    return Guest(heat.server_metadata(name))


def inputs_of(deployment: dict[str, Any]) -> dict[str, Any]:
    return {value["name"]: value["value"] for value in deployment["inputs"]}


def test_every_service_is_up(cloud: Cloud) -> None:
    assert all(cloud.status().values()), cloud.status()


def test_up_of_a_cloud_that_is_up_starts_nothing(cloud: Cloud) -> None:
    messages: list[str] = []
    cloud.up(messages.append)
    assert messages == []


def test_a_deployment_reaches_the_metadata_queue(cloud: Cloud, heat: Heat, stack_name: str) -> None:
    guest = start_deployment(heat, stack_name)
    deployment = guest.wait_for_deployment()
    assert guest.auth_url == f"{cloud.auth_url}/"
    assert deployment["config"] == "echo hello"
    assert inputs_of(deployment)["colour"] == "blue"
    assert heat.resource(stack_name, "hello").status == "CREATE_IN_PROGRESS"


def test_a_posted_signal_completes_the_deployment(heat: Heat, stack_name: str) -> None:
    guest = start_deployment(heat, stack_name)
    queue = inputs_of(guest.wait_for_deployment())["deploy_queue_id"]
    signal = {"deploy_stdout": "hello\n", "deploy_stderr": "", "deploy_status_code": 0}
    guest.post(queue, signal | {"answer": "42"})
    stack = heat.wait_for(stack_name, ["CREATE_COMPLETE"], DEADLINE_SECONDS)
    assert stack.outputs["hello_answer"] == "42"
    assert stack.outputs["hello_deploy_stdout"] == "hello\n"
    assert int(stack.outputs["hello_deploy_status_code"]) == 0


def test_the_benchmark_times_what_is_posted_and_not_who_reads_it(
    heat: Heat, stack_name: str
) -> None:
    guest = start_deployment(heat, stack_name)
    queue = f"timed-{stack_name}"
    with StoreMonitor() as monitor:
        for place in range(2):
            guest.post(queue, {"place": place})
            assert guest.pop(queue) == [{"place": place}]
            assert guest.pop(queue) == []
        guest.post(f"{queue}-end", {})
        monitor.wait(f"{queue}-end", 1, DEADLINE_SECONDS)
    assert len(monitor.times(queue)) == 2


def test_a_stopped_zaqar_is_down_and_a_started_one_is_up_again(cloud: Cloud) -> None:
    cloud.stop("zaqar")
    try:
        status = cloud.status()
        assert not status.pop("zaqar")
        assert all(status.values()), status
    finally:
        cloud.start("zaqar")
    assert cloud.status()["zaqar"]


def test_messages_outlive_a_restart_of_their_store(
    cloud: Cloud, heat: Heat, stack_name: str
) -> None:
    guest = start_deployment(heat, stack_name)
    before = guest.wait_for_deployment()
    cloud.stop("redis")
    cloud.start("redis")
    assert guest.wait_for_deployment()["id"] == before["id"]


def test_a_service_that_does_not_exist_is_named_with_those_that_do(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match="no service nova; there are mariadb,"):
        cloud.stop("nova")
