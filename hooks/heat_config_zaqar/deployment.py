"""What Heat's metadata says: deployments, logins, and where each result has to go.

Owns the format of Heat's metadata (`heat.engine.resources.openstack.heat.software_deployment`,
`heat.rpc.api.SoftwareConfig`). Pure: neither reads nor writes.
Invariant: what leaves here is well-formed, and an id can serve as a file name; a deployment that
cannot be run but can be signalled leaves as well, and says what is wrong with it.
"""

import dataclasses
import enum
import functools
import hashlib
import logging
import math
import re
from typing import Any

from heat_config_zaqar.errors import InvalidMetadataError
from heat_config_zaqar.nesting import too_deep
from heat_config_zaqar.succession import Target, target_of

# Heat's ids are UUIDs. Others may come from other collectors; such a one serves as a file name.
_ORDINARY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Zaqar accepts these characters in the name of a queue.
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Ten years: more than a process can wait for would be an error when it is too late to say so.
MOST_SECONDS = 10 * 365 * 86400
_LOGIN_KEYS = ("auth_url", "user_id", "project_id", "password", "queue_id")
# Our own key in the document of a deployment that cannot be run, which is read again later.
_PROBLEM = "problem"

_LOG = logging.getLogger(__name__)


class Transport(enum.StrEnum):
    """How Heat wants the result, the input `deploy_signal_transport`."""

    ZAQAR = "ZAQAR_SIGNAL"
    CFN = "CFN_SIGNAL"
    TEMP_URL = "TEMP_URL_SIGNAL"
    HEAT = "HEAT_SIGNAL"
    NONE = "NO_SIGNAL"


@dataclasses.dataclass(frozen=True)
class Credentials:
    """A Keystone login of a stack user; the password stays out of `repr`.

    :ivar ca_file: PEM file in the guest for this cloud's certificates; empty for the settings'.
    """

    auth_url: str
    user_id: str
    project_id: str
    region_name: str
    password: str = dataclasses.field(repr=False)
    ca_file: str = ""


@dataclasses.dataclass(frozen=True)
class Deployment:
    """One deployment of the server's metadata.

    :ivar id: the config id; each update of a deployment has a new one.
    :ivar creation_time: when Heat made the config, ISO 8601, as Heat gave it.
    :ivar document: what Heat sent, which is what the hook reads on its standard input.
    :ivar problem: why it cannot be run; empty where it can.
    """

    id: str
    name: str
    group: str
    creation_time: str
    document: dict[str, Any] = dataclasses.field(repr=False)
    problem: str = ""

    def input(self, name: str) -> Any:
        """Return the value of the input `name`, or None."""
        for item in self.document.get("inputs", []):
            if item["name"] == name:
                return item.get("value")
        return None

    def text_input(self, name: str) -> str:
        """Return the value of the input `name` as text, empty where it is missing."""
        value = self.input(name)
        return "" if value is None else str(value)

    @property
    def action(self) -> str:
        """The stack action that this deployment is for: CREATE, UPDATE, DELETE, ..."""
        return self.text_input("deploy_action")

    @property
    def target(self) -> Target:
        """Which deployment resource of Heat this is a config of."""
        names = ("deploy_stack_id", "deploy_resource_name", "deploy_queue_id")
        return target_of(*map(self.text_input, names))

    @property
    def transport(self) -> Transport:
        """How to signal; where Heat does not say, what the other inputs allow.

        :raises InvalidMetadataError: it is unknown, or Zaqar has no queue of that name.
        """
        named, queue = (
            self.text_input("deploy_signal_transport"),
            self.text_input("deploy_queue_id"),
        )
        if named and named not in list(Transport):
            known = ", ".join(Transport)
            raise self._invalid(f"unknown signal transport {named!r}; known are {known}")
        transport = Transport(named) if named else self._possible_transport()
        if transport is Transport.ZAQAR and not _QUEUE_NAME.fullmatch(queue):
            raise self._invalid(f"{_shown(queue)} is not the name of a queue")
        return transport

    def _possible_transport(self) -> Transport:
        if self.input("deploy_signal_id"):
            put = self.text_input("deploy_signal_verb").upper() == "PUT"
            return Transport.TEMP_URL if put else Transport.CFN
        if self.input("deploy_queue_id"):
            return Transport.ZAQAR
        return Transport.HEAT if self.input("deploy_auth_url") else Transport.NONE

    @property
    def timeout(self) -> float | None:
        """The input `deploy_timeout`: seconds that the hook may take, 0 for no limit.

        None where there is no such input, or it has no value.

        :raises InvalidMetadataError: it is not a number of seconds.
        """
        value = self.input("deploy_timeout")
        # A String input without a value has become "None", see `parse_deployment`.
        if value in (None, "", "None"):
            return None
        try:
            seconds = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            seconds = math.nan
        if not 0 <= seconds <= MOST_SECONDS:
            raise self._invalid(f"deploy_timeout is not a number of seconds: {_shown(value)}")
        return seconds

    @property
    def progress_queue(self) -> str:
        """The queue where Heat's plug-in reads how far this is; empty where nobody reads one.

        It is never the signal's: Heat would take what it finds there for the end.
        """
        queue = self.text_input("deploy_progress_queue_id")
        # A String input without a value has become "None", see `parse_deployment`.
        is_usable = _QUEUE_NAME.fullmatch(queue) and queue != "None"
        return queue if is_usable and queue != self.text_input("deploy_queue_id") else ""

    @property
    def credentials(self) -> Credentials:
        """The deployment's own Keystone login."""
        keys = ("auth_url", "user_id", "project_id", "region_name", "password")
        return Credentials(**{key: self.text_input(f"deploy_{key}") for key in keys})

    def _invalid(self, reason: str) -> InvalidMetadataError:
        return InvalidMetadataError(f"deployment {self.id}: {reason}")


def parse_deployment(document: Any) -> Deployment:
    """Check one entry of the metadata's `deployments`.

    String inputs whose value is not a string become strings, as upstream does: Heat sends what
    the template's author wrote. A name may be anything, and an id any text: one that is no file
    name is replaced by its digest, here and for the hook.

    :raises InvalidMetadataError: it has neither an id nor an address to signal to.
    """
    if not isinstance(document, dict):
        raise InvalidMetadataError(f"a deployment is not a map but {type(document).__name__}")
    problem = _problem_of(document)
    inputs = document.get("inputs") or []
    document = (
        _signalled_only(document, problem)
        if problem
        else {**document, "inputs": [_typed(item) for item in inputs]}
    )
    texts = {key: value for key, value in document.items() if isinstance(value, str)}
    made = Deployment(
        id=texts.get("id", ""),
        name=texts.get("name", ""),
        group=texts.get("group") or "Heat::Ungrouped",
        creation_time=texts.get("creation_time", ""),
        document=document,
        problem=problem,
    )
    config_id = made.id
    if not config_id:
        address = (*made.target, made.text_input("deploy_signal_id"))
        if not any(address):
            raise InvalidMetadataError(f"a deployment {problem}, and nowhere to signal that to")
        config_id = "\0".join((*address, made.creation_time))
    if not _ORDINARY_ID.fullmatch(config_id):
        config_id = hashlib.sha256(config_id.encode("utf-8", "surrogatepass")).hexdigest()
    return dataclasses.replace(
        made, id=config_id, name=made.name or config_id, document={**document, "id": config_id}
    )


def _problem_of(document: dict[str, Any]) -> str:
    """Return why a deployment cannot be run; empty where it can."""
    known, group, inputs = (document.get(key) for key in (_PROBLEM, "group", "inputs"))
    if known and isinstance(known, str):
        return known
    if deep := too_deep(document):
        return deep
    if not isinstance(document.get("id"), str) or not document["id"]:
        return f"has no id but {_shown(document.get('id'))}"
    if group and not isinstance(group, str):
        return f"has a group that is not a string but {type(group).__name__}"
    if len(_named(inputs)) < (len(inputs) if isinstance(inputs, list) else inputs is not None):
        return "has inputs that are not a list of maps with a name"
    return ""


def _named(inputs: Any) -> list[dict[str, Any]]:
    return [
        item
        for item in (inputs if isinstance(inputs, list) else [])
        if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]


def _signalled_only(document: dict[str, Any], problem: str) -> dict[str, Any]:
    """Return what is needed to signal that a deployment cannot be run, whatever else is in it."""
    kept = ("id", "name", "group", "creation_time", "config")
    texts = {key: document[key] if isinstance(document.get(key), str) else "" for key in kept}
    inputs = [
        {"name": item["name"], "value": item["value"]}
        for item in _named(document.get("inputs"))
        if isinstance(item.get("value"), str)
    ]
    return {**texts, "inputs": inputs, _PROBLEM: problem}


def _typed(item: dict[str, Any]) -> dict[str, Any]:
    is_right = item.get("type") != "String" or isinstance(item.get("value"), str)
    return item if is_right else {**item, "value": str(item.get("value"))}


def parse_credentials(section: Any) -> tuple[Credentials, str] | None:
    """Return login and queue of the metadata's `os-collect-config.zaqar`; None if unusable.

    Where only a part of it is, that is logged once.
    """
    if not isinstance(section, dict):
        return None
    texts = {key: value for key, value in section.items() if isinstance(value, str) and value}
    unusable = [key for key in _LOGIN_KEYS if key not in texts]
    if not unusable and not _QUEUE_NAME.fullmatch(texts["queue_id"]):
        unusable = ["queue_id"]
    if unusable:
        if len(unusable) < len(_LOGIN_KEYS):
            _warn_once(f"the section [zaqar] has no usable {' and no usable '.join(unusable)}")
        return None
    keys = ("auth_url", "user_id", "project_id", "region_name", "password", "ca_file")
    return Credentials(**{key: texts.get(key, "") for key in keys}), texts["queue_id"]


@functools.cache
def _warn_once(problem: str) -> None:
    _LOG.warning("%s: signals and metadata by Zaqar need it", problem)


def for_its_action(deployment: Deployment) -> Deployment:
    """Return the deployment with the config and hook that a `component` has for its action.

    Any other deployment is returned as it is.

    :raises InvalidMetadataError: it cannot be run, or has nothing for `deploy_action`.
    """
    if deployment.problem:
        raise InvalidMetadataError(f"deployment {deployment.id}: {deployment.problem}")
    if deployment.group != "component":
        return deployment
    config = deployment.document.get("config")
    entries = config.get("configs") if isinstance(config, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("actions"), list):
            continue
        if deployment.action in entry["actions"] and isinstance(entry.get("tool"), str):
            chosen = {"config": entry.get("config"), "group": entry["tool"]}
            return dataclasses.replace(
                deployment, group=entry["tool"], document={**deployment.document, **chosen}
            )
    raise InvalidMetadataError(
        f"deployment {deployment.id}: its component has no config for action {deployment.action!r}"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
