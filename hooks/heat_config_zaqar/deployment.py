"""What Heat's metadata says: snapshots, deployments, and where each result has to go.

Owns the format of Heat's metadata (`heat.engine.resources.openstack.heat.software_deployment`,
`heat.rpc.api.SoftwareConfig`). Pure: neither reads nor writes.
Invariant: what leaves here is well-formed; an id can serve as a file name.
"""

import dataclasses
import enum
import math
import re
from typing import Any

from heat_config_zaqar.errors import InvalidMetadataError
from heat_config_zaqar.succession import Target, target_of

# Heat's ids are UUIDs. Others may come from other collectors, but must be safe as a file name.
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# os-collect-config makes a cache file of the name of each os-apply-config deployment.
_SAFE_NAME = re.compile(r"[^/\0.][^/\0]{0,199}")
# python-zaqarclient and Zaqar accept these characters in the name of a queue.
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# No store of Zaqar's takes as many, and Python's own functions recurse.
MOST_LEVELS = 90
# Ten years: more than a process can wait for would be an error when it is too late to say so.
_MOST_SECONDS = 10 * 365 * 86400


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
    """

    id: str
    name: str
    group: str
    creation_time: str
    document: dict[str, Any] = dataclasses.field(repr=False)

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
    def queue(self) -> str:
        """The signal queue, empty where the deployment signals by other means.

        :raises InvalidMetadataError: the name is not one of a Zaqar queue.
        """
        return _checked_queue(self.text_input("deploy_queue_id"), f"deployment {self.id}")

    @property
    def target(self) -> Target:
        """Which deployment resource of Heat this is a config of."""
        return target_of(
            self.text_input("deploy_stack_id"),
            self.text_input("deploy_resource_name"),
            self.text_input("deploy_queue_id"),
        )

    @property
    def transport(self) -> Transport:
        """How to signal; where Heat does not say, what the other inputs allow.

        :raises InvalidMetadataError: the transport is unknown.
        """
        named = self.text_input("deploy_signal_transport")
        if named:
            try:
                return Transport(named)
            except ValueError:
                known = ", ".join(Transport)
                raise InvalidMetadataError(
                    f"deployment {self.id}: unknown signal transport {named!r}; known are {known}"
                ) from None
        if self.input("deploy_signal_id"):
            return Transport.CFN
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
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 <= seconds <= _MOST_SECONDS:
            raise InvalidMetadataError(
                f"deployment {self.id}: deploy_timeout is not a number of seconds: {_shown(value)}"
            )
        return seconds

    @property
    def credentials(self) -> Credentials:
        """The deployment's own Keystone login."""
        return Credentials(
            auth_url=self.text_input("deploy_auth_url"),
            user_id=self.text_input("deploy_user_id"),
            project_id=self.text_input("deploy_project_id"),
            region_name=self.text_input("deploy_region_name"),
            password=self.text_input("deploy_password"),
        )


def parse_deployment(document: Any) -> Deployment:
    """Check one entry of the metadata's `deployments`.

    String inputs whose value is not a string become strings, as upstream does: Heat sends what
    the template's author wrote.

    :raises InvalidMetadataError: it cannot be run; the message names the deployment.
    """
    if not isinstance(document, dict):
        raise InvalidMetadataError(f"a deployment is not a map but {_kind(document)}")
    config_id = document.get("id")
    if not isinstance(config_id, str) or not _SAFE_ID.fullmatch(config_id):
        raise InvalidMetadataError(f"deployment {_shown(config_id)}: the id is not usable")
    where = f"deployment {config_id}"
    if levels(document) > MOST_LEVELS:
        raise InvalidMetadataError(f"{where}: is nested over {MOST_LEVELS} levels deep")
    name = document.get("name", config_id)
    group = document.get("group") or "Heat::Ungrouped"
    if not isinstance(name, str) or not _SAFE_NAME.fullmatch(name):
        raise InvalidMetadataError(f"{where}: the name {_shown(name)} is not usable")
    if not isinstance(group, str):
        raise InvalidMetadataError(f"{where}: the group is not a string but {_kind(group)}")
    checked = {**document, "inputs": _checked_inputs(document.get("inputs"), where)}
    creation_time = document.get("creation_time")
    return Deployment(
        id=config_id,
        name=name,
        group=group,
        creation_time=creation_time if isinstance(creation_time, str) else "",
        document=checked,
    )


def parse_credentials(section: Any) -> tuple[Credentials, str] | None:
    """Return login and queue of the metadata's `os-collect-config.zaqar`; None if unusable."""
    if not isinstance(section, dict):
        return None
    keys = ("auth_url", "user_id", "project_id", "password", "queue_id")
    if not all(isinstance(section.get(key), str) and section[key] for key in keys):
        return None
    if not _QUEUE_NAME.fullmatch(section["queue_id"]):
        return None
    login = Credentials(
        auth_url=section["auth_url"],
        user_id=section["user_id"],
        project_id=section["project_id"],
        region_name=str(section.get("region_name") or ""),
        password=section["password"],
        ca_file=str(section.get("ca_file") or ""),
    )
    return login, section["queue_id"]


def levels(value: Any) -> int:
    """Return how many lists and maps are inside each other in what JSON can hold."""
    count = 0
    inside = [value]
    while inside := [item for item in inside if isinstance(item, list | dict)]:
        count += 1
        inside = [
            below
            for item in inside
            for below in (item.values() if isinstance(item, dict) else item)
        ]
    return count


def for_its_action(deployment: Deployment) -> Deployment:
    """Return the deployment with the config and hook that a `component` has for its action.

    Any other deployment is returned as it is.

    :raises InvalidMetadataError: the component has nothing for `deploy_action`.
    """
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


def _checked_inputs(inputs: Any, where: str) -> list[dict[str, Any]]:
    if inputs is None:
        return []
    if not isinstance(inputs, list):
        raise InvalidMetadataError(f"{where}: the inputs are not a list but {_kind(inputs)}")
    checked = []
    for item in inputs:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise InvalidMetadataError(f"{where}: an input is not a map with a name")
        value = item.get("value")
        if item.get("type") == "String" and not isinstance(value, str):
            item = {**item, "value": str(value)}
        checked.append(item)
    return checked


def _checked_queue(queue: str, where: str) -> str:
    if queue and not _QUEUE_NAME.fullmatch(queue):
        raise InvalidMetadataError(f"{where}: {_shown(queue)} is not the name of a queue")
    return queue


def _kind(value: Any) -> str:
    return type(value).__name__


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
