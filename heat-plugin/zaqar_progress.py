"""What guests tell of deployments that are in progress: read, judged, and shown in Heat.

Owns the progress queue's side in Heat; the guest's is heat_config_zaqar/deliver/progress.py, and
zaqar_signal.py beside this says which deployment has one. Invariants: nothing that a guest says is
trusted; nothing that Zaqar, Keystone or a guest does here is raised, or holds Heat up for longer
than two timeouts; only the status reason and events are written, never a state.
"""

import logging
import time
import uuid
from datetime import timedelta
from typing import Any

import requests
from heat.engine import software_config_io
from heat.objects import resource as resource_objects
from oslo_config import cfg
from oslo_utils import timeutils

_LOG = logging.getLogger(__name__)

INPUT = "deploy_progress_queue_id"
QUEUE_SUFFIX = "-progress"
# Heat asks each second whether a deployment is complete; a guest tells within a second or two.
LOOK_SECONDS = 2
# After a look that failed.
PAUSE_SECONDS = 30
TIMEOUT_SECONDS = 2
# A guest sends one message a minute; Zaqar hands out 20 at most.
MESSAGES_OF_A_LOOK = 10
# Of a deployment. A stack keeps a thousand of all its resources: max_events_per_stack.
MOST_EVENTS = 60
_MOST_SECONDS = 10 * 365 * 86400
_LONGEST_LINE = 200

cfg.CONF.register_opt(
    cfg.BoolOpt(
        "deployment_progress",
        default=True,
        help="Show how far a deployment is that is in progress, by a Zaqar queue for each.",
    )
)


class Progress:
    """What a guest says of one config of a deployment's resource, until that is signalled.

    :param queue: the name of the queue where it does.
    """

    def __init__(self, resource: Any, queue: str, config_id: str) -> None:
        self._resource = resource
        self._queue = queue
        self._config_id = config_id
        self._next_look = 0.0
        self._address = ""
        self._signature: dict[str, str] = {}
        self._attempt = 0
        self._events = 0
        self._has_failed = False

    def look(self) -> None:
        """Show what the guest has said; whatever happens here, Heat waits on as without it."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        try:
            if not self._signature:
                self._sign()
            text = self._news()
            if text and text != self._resource.status_reason:
                self._show(text)
        except Exception:  # noqa: BLE001 # Heat does not need what is said here
            self._next_look += PAUSE_SECONDS
            self._signature = {}
            if not self._has_failed:
                _LOG.warning("%s: its progress is not shown", self._resource, exc_info=True)
            self._has_failed = True

    def _sign(self) -> None:
        """Have the queue's URL signed, as Heat does for the signal's: looks need no Keystone."""
        address = self._resource.client_plugin("zaqar").url_for(service_type="messaging")
        self._address = f"{address.rstrip('/')}/v2/queues/{self._queue}"
        login = {"X-Auth-Token": self._resource.user_token(), "Client-ID": str(uuid.uuid4())}
        wanted = {"paths": ["messages"], "methods": ["DELETE"]}
        signed = self._ask("POST", "share", login, json=wanted)
        self._signature = {
            "Client-ID": login["Client-ID"],
            "X-Project-ID": signed["project"],
            "URL-Expires": signed["expires"],
            "URL-Signature": signed["signature"],
            "URL-Methods": ",".join(signed["methods"]),
            "URL-Paths": ",".join(signed["paths"]),
        }

    def _news(self) -> str:
        """Take what waits in the queue, or a part of it; return the newest, empty for nothing."""
        limit = {"pop": MESSAGES_OF_A_LOOK}
        answer = self._ask("DELETE", "messages", self._signature, params=limit)
        texts = [self._text(item["body"], item.get("age")) for item in answer["messages"]]
        return next(filter(None, reversed(texts)), "")

    def _text(self, body: Any, age: Any) -> str:
        """Return what a message says; empty where it is of another config or an older attempt."""
        if not isinstance(body, dict) or body.get("deploy_config_id") != self._config_id:
            return ""
        attempt, seconds, quiet = (_whole(body.get(key)) for key in ("attempt", "seconds", "quiet"))
        if attempt < self._attempt:
            return ""
        self._attempt = attempt
        posted = timeutils.utcnow() - timedelta(seconds=_whole(age))
        if not attempt:
            return f"Guest has it since {_moment(posted)}, its hook has not started"
        began = _moment(posted - timedelta(seconds=seconds))
        printed = _moment(posted - timedelta(seconds=quiet))
        text = f"Hook runs since {began} (attempt {attempt}), alive at {_moment(posted)}"
        line = _printable(body.get("line"))
        return f"{text}, printed at {printed}: {line}" if line else f"{text}, printed at {printed}"

    def _show(self, text: str) -> None:
        resource = self._resource
        resource.status_reason = text
        # The one column: what else is there may have changed, by another engine's hand.
        resource_objects.Resource.update_by_id(
            resource.context, resource.id, {"status_reason": text}
        )
        self._events += 1
        if self._events <= MOST_EVENTS:
            resource._add_event(resource.action, resource.status, text)

    def _ask(self, method: str, what: str, headers: dict[str, str], **more: Any) -> Any:
        # Heat's own client of Zaqar has no timeout.
        answer = requests.request(
            method, f"{self._address}/{what}", headers=headers, timeout=TIMEOUT_SECONDS, **more
        )
        if answer.status_code == requests.codes.unauthorized:
            self._resource.known_token = ""
        answer.raise_for_status()
        return answer.json() if answer.content else {"messages": []}


def is_possible(resource: Any) -> bool:
    """Whether the operator wants it, Zaqar is there, and the guest has a login for it."""
    if not cfg.CONF.deployment_progress or resource.physical_resource_name() is None:
        return False
    if not resource._signal_transport_heat():
        return bool(resource._signal_transport_zaqar())
    try:
        return bool(resource.client_plugin("zaqar").does_endpoint_exist("messaging", "zaqar"))
    except Exception:  # noqa: BLE001 # a deployment by HEAT_SIGNAL needs none
        return False


def guest_input(queue: str) -> Any:
    """Return the input by which a guest hears of its queue."""
    return software_config_io.InputConfig(
        name=INPUT, value=queue, description="ID of queue to tell the progress in"
    )


def delete(resource: Any, queue: str) -> None:
    """Delete a queue; where that fails, its messages are gone in minutes."""
    try:
        address = resource.client_plugin("zaqar").url_for(service_type="messaging")
        requests.delete(
            f"{address.rstrip('/')}/v2/queues/{queue}",
            headers={"X-Auth-Token": resource.user_token(), "Client-ID": str(uuid.uuid4())},
            timeout=TIMEOUT_SECONDS,
        ).raise_for_status()
    except Exception:  # noqa: BLE001 # a stack is to be deleted, whatever becomes of this
        _LOG.warning("%s: queue %s was not deleted", resource, queue, exc_info=True)


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= _MOST_SECONDS else 0


def _moment(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _printable(value: Any) -> str:
    """Return a line that each terminal and database takes: no controls, nothing beyond the BMP."""
    line = value[:_LONGEST_LINE] if isinstance(value, str) else ""
    return "".join(c if c.isprintable() and ord(c) < 0x10000 else "?" for c in line)
