"""A cloud in this process, in the place of the network: Keystone, Zaqar, Heat and pre-signed URLs.

It is no more obliging than the real ones. What Zaqar refuses, and what it says then, is copied from
`zaqar.transport.wsgi` and its redis store, and tests/integration/test_bodies.py compares the two.
Where the real Heat's mind is not known, this one refuses.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.parse import quote, unquote, urlsplit

import msgpack  # type: ignore[import-untyped]
import requests
import urllib3.exceptions

from heat_config_zaqar.wire.failures import check, translated
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection, HttpSession

ADDRESS = "http://cloud.test"
SECTION: dict[str, Any] = {
    "collectors": ["zaqar", "local"],
    "zaqar": {
        "user_id": "user-of-server",
        "password": "qmKW2hOdyz^ZFo5DViXIRINn9fGSoV6M",
        "auth_url": f"{ADDRESS}/v3/",
        "project_id": "2e05934bcf02461283d8e27c2fabda11",
        "queue_id": "t1-server-aa4wl7xthqln",
        "region_name": "RegionOne",
    },
}
LARGEST_POST = 262144
_LARGEST_OF_HEAT = 1024 * 1024
_PROJECT = SECTION["zaqar"]["project_id"]
_QUEUE_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
_MESSAGES = re.compile("/zaqar/v2/queues/([^/]*)/messages")
_QUEUE = re.compile("/zaqar/v2/queues/([^/]*)")
_HEAT_SIGNAL = re.compile("/heat/v1/[^/]+/stacks/([^/]+)/([^/]+)/resources/([^/]+)/signal")
_OF_SERVER = re.compile("/heat/v1/[^/]+/software_deployments/metadata/[^/]+")

_TOKEN = {"X-Auth-Token": "token"}
# Says for a URL whether requests can send there at all.
_SESSION = requests.Session()

Answer = tuple[int, Any]


def zaqar_answer(raw: bytes) -> Answer:
    """Return the status that Zaqar answers to a post, and the bodies that it then has stored.

    :param raw: the request's body.
    """
    if len(raw) > LARGEST_POST:
        return 400, []
    try:
        document = json.loads(raw.decode(), parse_int=_int64)
    except (ValueError, OverflowError):
        return 400, []
    except RecursionError:
        return 503, []
    messages = document.get("messages") if isinstance(document, dict) else None
    if not isinstance(messages, list) or not messages:
        return 400, []
    if not all(isinstance(item, dict) and "body" in item for item in messages):
        return 400, []
    if not all(isinstance(item.get("ttl", 0), int) for item in messages):
        return 400, []
    try:
        packed = [msgpack.packb(item["body"], use_bin_type=True) for item in messages]
    except (ValueError, OverflowError):
        return 503, []
    return 201, [msgpack.unpackb(item) for item in packed]


class StandInCloud:
    """What all services together hold.

    :ivar metadata: the text of the one message in the metadata queue; None for an empty queue.
    :ivar at_heat: the deployments that Heat lists, to a guest that has read the message.
    :ivar signals: what arrived, as (name of the queue or resource, or end of the URL, body).
    :ivar unreachable: URLs of other hosts that somebody tried.
    """

    def __init__(self) -> None:
        self.metadata: str | None = None
        self.at_heat: list[Any] | None = None
        self.signals: list[tuple[str, Any]] = []
        self.unreachable: set[str] = set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let no request of this process reach the network, but this cloud."""

        def send(_: Any, request: requests.PreparedRequest, **__: Any) -> requests.Response:
            return self.send(request)

        with (
            mock.patch.object(requests.adapters.HTTPAdapter, "send", send),
            mock.patch.object(requests.sessions, "get_environ_proxies", lambda *_, **__: {}),
        ):
            yield

    @contextmanager
    def installed_above_http(self) -> Iterator[None]:
        """Answer in the place of what makes HTTP of a request: in a tenth of the time."""
        short = _Short(self)
        with (
            mock.patch.object(Queue, "messages", short.messages),
            mock.patch.object(Queue, "post", short.post),
            mock.patch.object(Queue, "delete", short.delete),
            mock.patch.object(Queue, "largest_post", lambda _: LARGEST_POST),
            mock.patch.object(Connection, "request", short.request),
            mock.patch.object(HttpSession, "request", short.send),
        ):
            yield

    def send(self, request: requests.PreparedRequest) -> requests.Response:
        url = str(request.url)
        _SESSION.get_adapter(url)
        if not url.startswith(f"{ADDRESS}/"):
            self.unreachable.add(url)
            pool: Any = mock.Mock(host=urlsplit(url).hostname)
            refused = urllib3.exceptions.NewConnectionError(pool, "refused")
            raise requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, url, refused))
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else bytes(body)
        path = urlsplit(url).path
        status, content = self.answer(str(request.method), path, request.headers, raw)
        response = requests.Response()
        response.status_code, response.url, response.request = status, url, request
        response.headers["Content-Type"] = "application/json"
        response.encoding = "utf-8"
        if path == "/v3/auth/tokens":
            response.headers["X-Subject-Token"] = "token"
        response._content = content if isinstance(content, bytes) else json.dumps(content).encode()
        return response

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return status and content (JSON, or its text) for a request to any of the services."""
        if path == "/v3/auth/tokens":
            return _token(json.loads(body))
        if path.startswith("/signal/"):
            return self._take_signal(unquote(path.removeprefix("/signal/")), body)
        if headers.get("X-Auth-Token") != "token":
            return 401, {}
        if found := _HEAT_SIGNAL.fullmatch(path):
            return self._take_signal(unquote(found[3]), body)
        if _OF_SERVER.fullmatch(path) and self.at_heat is not None:
            return 200, {"metadata": self.at_heat}
        if found := _MESSAGES.fullmatch(path):
            return self._messages(method, unquote(found[1]), body)
        if _QUEUE.fullmatch(path) and method == "GET":
            return 200, {"_max_messages_post_size": LARGEST_POST}
        return 404, {}

    def _messages(self, method: str, queue: str, body: bytes) -> Answer:
        if not _QUEUE_NAME.fullmatch(queue):
            return 400, {}
        if method == "POST":
            status, stored = zaqar_answer(body)
            self.signals += [(queue, item) for item in stored]
            return status, {"resources": [f"/v2/queues/{queue}/messages/1" for _ in stored]}
        is_metadata = queue == SECTION["zaqar"]["queue_id"]
        if method == "DELETE":
            if is_metadata and self.metadata is not None:
                self.at_heat, self.metadata = _deployments_of(self.metadata), None
            return 204, b""
        if is_metadata and self.metadata is not None:
            text = '{"messages": [{"href": "/v2/queues/q/messages/1", "id": "1", "ttl": 3600, '
            text += f'"age": 1, "body": {self.metadata}}}], "links": []}}'
            return 200, text.encode()
        found = [body for name, body in self.signals if name == queue]
        listed = [{"href": "/1", "id": "1", "ttl": 1, "age": 1, "body": item} for item in found]
        return 200, {"messages": listed, "links": []}

    def _take_signal(self, place: str, body: bytes) -> Answer:
        """What stores JSON as text of UTF-8 may refuse what is neither."""
        try:
            document = json.loads(body, parse_constant=_refuse)
            json.dumps(document, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return 400, {}
        if len(body) > _LARGEST_OF_HEAT or not isinstance(document, dict):
            return 400, {}
        self.signals.append((place, document))
        return 200, {}


class _Short:
    """The wire room's methods without HTTP; they raise what those do."""

    def __init__(self, cloud: StandInCloud) -> None:
        def method(act: Callable[..., Any]) -> Callable[..., Any]:
            def translated_act(*arguments: Any, **more: Any) -> Any:
                with translated(act.__name__):
                    return act(*arguments, **more)

            return translated_act

        self._cloud = cloud
        self.messages, self.delete = method(self._messages), method(self._delete)
        self.post, self.request = method(self._post), method(self._request)

    def send(self, method: str, url: str, **more: Any) -> requests.Response:
        """Do what `requests.request` does."""
        return self._cloud.send(requests.Request(method, url, data=more["data"]).prepare())

    def _messages(self, queue: Queue) -> list[tuple[str, Any]]:
        found = self._ask("GET", _path_of(queue))["messages"]
        return [(item["id"], item["body"]) for item in found]

    def _delete(self, queue: Queue, _: list[str]) -> None:
        self._ask("DELETE", _path_of(queue))

    def _post(self, queue: Queue, body: Any, ttl: int) -> None:
        self._ask("POST", _path_of(queue), {"messages": [{"body": body, "ttl": ttl}]})

    def _request(self, user: Connection, method: str, path: str, **more: Any) -> Any:
        login = user.credentials
        if not login.auth_url.startswith(f"{ADDRESS}/"):
            self.send("POST", f"{login.auth_url}/auth/tokens", data="")
        is_user = _is_user(login.user_id, login.project_id, login.password)
        check(mock.Mock(status_code=201 if is_user else 401, headers={}), "logging in")
        content = self._ask(method, f"/heat/v1/project{path}", more.get("json"))
        return mock.Mock(json=lambda: content)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        raw = json.dumps(body).encode()
        status, content = self._cloud.answer(method, urlsplit(path).path, _TOKEN, raw)
        check(mock.Mock(status_code=status, headers={}, content=b""), f"{method} {path}")
        return json.loads(content) if isinstance(content, bytes) and content else content


def _deployments_of(metadata: str) -> list[Any]:
    snapshot = json.loads(metadata)
    listed = snapshot.get("deployments") if isinstance(snapshot, dict) else None
    return listed if isinstance(listed, list) else []


def _path_of(queue: Queue) -> str:
    if not queue.name:
        raise ValueError("Queue name does not have a value")
    return f"/zaqar/v2/queues/{quote(queue.name, safe='')}/messages"


def _token(request: Any) -> Answer:
    """Log in the users of `hostile.good_deployment` and of our section, and nobody else."""
    try:
        user = request["auth"]["identity"]["password"]["user"]
        project = request["auth"]["scope"]["project"]["id"]
        known = _is_user(user["id"], project, user["password"])
    except (KeyError, TypeError, AttributeError):
        return 400, {"error": {"message": "malformed"}}
    if not known:
        return 401, {"error": {"message": "who is that?"}}
    addresses = {"messaging": f"{ADDRESS}/zaqar", "orchestration": f"{ADDRESS}/heat/v1/{project}"}
    catalog = [
        {
            "type": service,
            "name": service,
            "id": service,
            "endpoints": [
                {"interface": "public", "region": "RegionOne", "region_id": "RegionOne"}
                | {"url": url, "id": service}
            ],
        }
        for service, url in addresses.items()
    ]
    times = {"expires_at": "2099-01-01T00:00:00.000000Z", "issued_at": "2026-01-01T00:00:00.0Z"}
    return 201, {"token": {**times, "methods": ["password"], "catalog": catalog, "user": user}}


def _is_user(user_id: str, project_id: str, password: str) -> bool:
    is_right = len(password) == len(SECTION["zaqar"]["password"])
    return is_right and user_id.startswith("user-of-") and project_id == _PROJECT


def _int64(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise OverflowError(text)
    return number


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
