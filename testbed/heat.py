"""A small Heat client for tests and demonstrations, and the templates that they drive it with.

Owns the testbed's whole knowledge of Heat's REST API and of the template format. Invariant:
nothing here talks to Zaqar or to a guest, so what a test sees of those is their own doing.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from keystoneauth1 import exceptions
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session

from testbed.cloud.layout import REGION

Template = str | Mapping[str, Any]

SERVER = "server"
_TEMPLATE_VERSION = "2018-08-31"
_DEPLOYMENT_OUTPUTS = ("deploy_stdout", "deploy_stderr", "deploy_status_code")
_POLL_SECONDS = 0.5
_MOST_DELETIONS = 3
_AGAIN_SECONDS = 10


class HeatError(Exception):
    """A stack did not become what was waited for; the text holds Heat's reason."""


@dataclass(frozen=True)
class Stack:
    """A stack as Heat shows it; `status` is action and state, such as CREATE_COMPLETE."""

    name: str
    id: str
    status: str
    reason: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class Resource:
    """A resource of a stack; `status` is action and state, such as CREATE_IN_PROGRESS."""

    name: str
    status: str
    reason: str
    physical_id: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Script:
    """One deployment: what the guest runs, with which inputs, and which outputs it names.

    `text` is a map for a structured config, `inputs` are values by name, `actions` the stack
    actions it runs at (Heat's default: CREATE and UPDATE), `options` the config's options for
    its hook.
    """

    text: str | Mapping[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Collection[str] = ()
    group: str = "script"
    signal_transport: str = "ZAQAR_SIGNAL"
    actions: Collection[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def deployments_template(
    scripts: Mapping[str, Script],
    server_name: str = "guest",
    metadata_transport: str = "ZAQAR_MESSAGE",
) -> dict[str, Any]:
    """Return a template of one deployed server and a deployment for each script.

    The server is the resource `server`, which takes its metadata by `metadata_transport` (Heat's
    property `software_config_transport`); a deployment has its script's name and its config that
    name with `_config`. The stack's outputs are called NAME_OUTPUT, as in `hello_deploy_stdout`.
    """
    resources: dict[str, Any] = {
        SERVER: {
            "type": "OS::Heat::DeployedServer",
            "properties": {"name": server_name, "software_config_transport": metadata_transport},
        }
    }
    outputs: dict[str, Any] = {}
    for name, script in scripts.items():
        resources[f"{name}_config"] = _config(script)
        resources[name] = _deployment(name, script)
        for output in (*script.outputs, *_DEPLOYMENT_OUTPUTS):
            outputs[f"{name}_{output}"] = {"value": {"get_attr": [name, output]}}
    return {
        "heat_template_version": _TEMPLATE_VERSION,
        "resources": resources,
        "outputs": outputs,
    }


def _config(script: Script) -> dict[str, Any]:
    properties = {
        "group": script.group,
        "config": script.text,
        "inputs": [{"name": name} for name in script.inputs],
        "outputs": [{"name": name} for name in script.outputs],
        "options": dict(script.options),
    }
    return {"type": f"OS::Heat::{_kind(script)}Config", "properties": properties}


def _deployment(name: str, script: Script) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": name,
        "server": {"get_resource": SERVER},
        "config": {"get_resource": f"{name}_config"},
        "signal_transport": script.signal_transport,
        "input_values": dict(script.inputs),
    }
    if script.actions:
        properties["actions"] = list(script.actions)
    return {"type": f"OS::Heat::{_kind(script)}Deployment", "properties": properties}


def _kind(script: Script) -> str:
    return "Software" if isinstance(script.text, str) else "Structured"


class Heat:
    """Stacks of the session's project. Stacks are named, or given as `name/id` once deleted.

    Every method raises keystoneauth1's ClientException where Heat refuses or is away.
    """

    def __init__(self, session: Session, region: str | None = REGION) -> None:
        """Use a session; its catalog says where Heat is, in a region or, for None, in any."""
        self._api = Adapter(
            session, service_type="orchestration", region_name=region, connect_retries=0
        )

    def create_stack(
        self,
        name: str,
        template: Template,
        parameters: Mapping[str, Any] | None = None,
        wait: bool = False,
        timeout: float = 300.0,
    ) -> Stack:
        """Create a stack, optionally wait up to `timeout` seconds until it is complete.

        Raises HeatError where it was waited for and failed or took longer.
        """
        body = {"stack_name": name, "template": template, "parameters": dict(parameters or {})}
        self._api.post("/stacks", json=body)
        if wait:
            return self.wait_for(name, ["CREATE_COMPLETE"], timeout)
        return self.stack(name)

    def update_stack(
        self,
        name: str,
        template: Template,
        parameters: Mapping[str, Any] | None = None,
        wait: bool = False,
        timeout: float = 300.0,
    ) -> Stack:
        """Update a stack, optionally wait up to `timeout` seconds until it is complete.

        Raises HeatError where it was waited for and failed or took longer.
        """
        body = {"template": template, "parameters": dict(parameters or {})}
        self._api.put(self._path(name), json=body)
        if wait:
            return self.wait_for(name, ["UPDATE_COMPLETE"], timeout)
        return self.stack(name)

    def suspend_stack(self, name: str) -> None:
        """Begin to suspend a stack."""
        self._api.post(f"{self._path(name)}/actions", json={"suspend": None})

    def resume_stack(self, name: str) -> None:
        """Begin to resume a suspended stack."""
        self._api.post(f"{self._path(name)}/actions", json={"resume": None})

    def snapshot_stack(self, name: str) -> str:
        """Begin to take a snapshot of a stack; return the snapshot's id."""
        shown = self._api.post(f"{self._path(name)}/snapshots", json={}).json()
        return str(shown["id"])

    def restore_stack(self, name: str, snapshot: str) -> None:
        """Begin to make a stack again what it was at a snapshot."""
        self._api.post(f"{self._path(name)}/snapshots/{snapshot}/restore")

    def delete_stack(
        self,
        name: str,
        wait: bool = True,
        timeout: float = 300.0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Delete a stack, if there is one; by default wait until it is gone.

        `meanwhile` is called while it is waited for. Raises HeatError where the deletion failed
        three times or took over `timeout` seconds.
        """
        began = time.monotonic()
        deletions = 0
        with contextlib.suppress(exceptions.NotFound):
            while True:
                # A stack is DELETE_COMPLETE a moment before its name is free again.
                stack = self.stack(name)
                lasted = time.monotonic() - began
                is_under_way = stack.status in ("DELETE_IN_PROGRESS", "DELETE_COMPLETE")
                # Over its own creation of a moment before, Heat may fail to delete, or forget to.
                if not is_under_way and lasted >= deletions * _AGAIN_SECONDS:
                    if deletions == _MOST_DELETIONS:
                        raise HeatError(f"stack {name} cannot be deleted: {stack.reason}")
                    self._api.delete(self._path(name))
                    deletions += 1
                if not wait:
                    return
                meanwhile()
                if lasted > timeout:
                    raise HeatError(f"stack {name} is not deleted after {timeout:.0f} s")
                time.sleep(_POLL_SECONDS)

    def names(self) -> list[str]:
        """Return the names of all stacks of the project."""
        return [stack["stack_name"] for stack in self._api.get("/stacks").json()["stacks"]]

    def stack(self, name: str) -> Stack:
        """Return a stack's state and outputs."""
        shown = self._api.get(f"/stacks/{name}").json()["stack"]
        return Stack(
            name=shown["stack_name"],
            id=shown["id"],
            status=shown["stack_status"],
            reason=shown["stack_status_reason"] or "",
            outputs={
                output["output_key"]: output.get("output_value")
                for output in shown.get("outputs", ())
            },
        )

    def resource(self, stack: str, name: str) -> Resource:
        """Return a resource's state and attributes."""
        shown = self._api.get(f"{self._path(stack)}/resources/{name}").json()["resource"]
        return Resource(
            name=shown["resource_name"],
            status=shown["resource_status"],
            reason=shown["resource_status_reason"] or "",
            physical_id=shown["physical_resource_id"],
            attributes=shown["attributes"],
        )

    def resource_statuses(self, stack: str) -> dict[str, str]:
        """Return the status of each resource of a stack, by name."""
        shown = self._api.get(f"{self._path(stack)}/resources").json()["resources"]
        return {item["resource_name"]: item["resource_status"] for item in shown}

    def signal(self, stack: str, resource: str, body: Mapping[str, Any]) -> None:
        """Signal a resource, as an operator may in place of a guest."""
        self._api.post(f"{self._path(stack)}/resources/{resource}/signal", json=dict(body))

    def server_metadata(self, stack_name: str, resource_name: str = SERVER) -> dict[str, Any]:
        """Return a server's metadata, which the operator gives a guest as its cfn-init-data.

        It holds the guest's credentials as well as the deployments that there are by now.
        """
        path = f"{self._path(stack_name)}/resources/{resource_name}/metadata"
        metadata: dict[str, Any] = self._api.get(path).json()["metadata"]
        return metadata

    def server_metadata_when_ready(
        self, stack: str, timeout: float = 180.0, collector: str = "zaqar"
    ) -> dict[str, Any]:
        """Wait until a new stack's server has the credentials of a collector; return its metadata.

        Raises HeatError where it has none after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                metadata = self.server_metadata(stack)
            except exceptions.NotFound:
                metadata = {}
            if collector in metadata.get("os-collect-config", {}):
                return metadata
            time.sleep(_POLL_SECONDS)
        raise HeatError(f"the server of stack {stack} has no metadata after {timeout:.0f} s")

    def wait_for(self, name: str, statuses: Collection[str], timeout: float) -> Stack:
        """Wait until a stack has one of the statuses, for at most `timeout` seconds.

        Raises HeatError at once where it fails in another way, and when the time is over.
        """
        deadline = time.monotonic() + timeout
        while (stack := self.stack(name)).status not in statuses:
            if stack.status.endswith("_FAILED"):
                raise HeatError(f"stack {name} is {stack.status}: {stack.reason}")
            if time.monotonic() > deadline:
                raise HeatError(
                    f"stack {name} is {stack.status} after {timeout:.0f} s, not in {statuses}"
                )
            time.sleep(_POLL_SECONDS)
        return stack

    def _path(self, name: str) -> str:
        stack = self.stack(name)
        return f"/stacks/{stack.name}/{stack.id}"
