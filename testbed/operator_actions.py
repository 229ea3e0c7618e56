"""What an operator does to a server and its stack, each with a deployment before and after it.

Invariant: an action counts only when the deployments that follow it have the outputs of their own
inputs, so that nothing of an earlier one passes for them.
"""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openstack.connection import Connection

from testbed.heat import SERVER, Heat, HeatError, Script, Stack, deployments_template

FAREWELL = "farewell"
_SECOND = "second"
_GROUP = "both"
# Each look costs the emulated guests some of their processor.
_POLL_SECONDS = 5.0

Server = Mapping[str, Any]


class TrialError(Exception):
    """What the cloud showed instead of what it should."""


def template(who: str, server: Server | None, *, farewell: bool = False) -> dict[str, Any]:
    """Return the stack: a server and deployments that greet `who`.

    :param server: properties of an OS::Nova::Server; None for an OS::Heat::DeployedServer.
    :param farewell: with a deployment that runs when it is deleted.
    """
    scripts = {
        "greet": Script(
            '#!/bin/sh\necho "hello $who"\nprintf %s "$n" >"$heat_outputs_path.number"\n',
            inputs={"who": who, "n": 7},
            outputs=("number",),
        ),
        "loud": Script("#!/bin/sh\nhead -c 10000 /dev/zero | tr '\\0' x\n"),
    }
    if server is not None:
        cycle = Script('#!/bin/sh\necho "$deploy_action"\n', actions=("SUSPEND", "RESUME"))
        scripts["cycle"] = cycle
    if farewell:
        scripts[FAREWELL] = Script("#!/bin/sh\nexit 0\n", actions=("DELETE",))
    result = deployments_template(scripts)
    if server is not None:
        result["resources"][SERVER] = _nova_server(server)
    return result


def group_template(who: str, server: Server) -> dict[str, Any]:
    """Return the stack with a second server, and a group of deployments over both."""
    result = template(who, server)
    result["resources"][_SECOND] = _nova_server(server)
    result["resources"][_GROUP] = {
        "type": "OS::Heat::SoftwareDeploymentGroup",
        "properties": {
            "name": _GROUP,
            "config": {"get_resource": "greet_config"},
            "servers": {"0": {"get_resource": SERVER}, "1": {"get_resource": _SECOND}},
            "input_values": {"who": who, "n": 7},
            "signal_transport": "ZAQAR_SIGNAL",
        },
    }
    stdouts = {"get_attr": [_GROUP, "deploy_stdouts"]}
    result["outputs"][f"{_GROUP}_deploy_stdouts"] = {"value": stdouts}
    return result


def _nova_server(server: Server) -> dict[str, Any]:
    properties = {
        **copy.deepcopy(dict(server)),
        "user_data_format": "SOFTWARE_CONFIG",
        "software_config_transport": "ZAQAR_MESSAGE",
    }
    return {"type": "OS::Nova::Server", "properties": properties}


@dataclass
class Trial:
    """One stack with an image's guests.

    :param name: of the stack; everything else that is made has a name that begins with it.
    :param server: properties of an OS::Nova::Server; None for an OS::Heat::DeployedServer.
    :param timeout: how long one step may take, in seconds.
    :param say: gets one line for each step, and for each change of a resource.

    Every method raises TrialError or HeatError where the cloud shows something else than it
    should, and the clients' own exceptions where it refuses.
    """

    cloud: Connection
    heat: Heat
    name: str
    server: Server | None
    timeout: float
    say: Callable[[str], None]
    _seen: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin to create the stack."""
        self.say("creating the stack")
        self.heat.create_stack(self.name, template("create", self.server))

    def created(self) -> None:
        """Wait until the stack is there, with the right outputs."""
        self.check(self.settled("CREATE_COMPLETE"), "create")

    def deploy(self, who: str) -> None:
        """Update the deployments and wait for their outputs."""
        self.check(self.updated(template(who, self.server)), who)

    def delete(self) -> None:
        """Delete the stack."""
        self.say("deleting the stack")
        self.heat.delete_stack(self.name, timeout=self.timeout)

    def run(self, action: str) -> None:
        """Do one of ACTIONS, and deploy after it."""
        self.say(f"action {action}")
        begun = time.monotonic()
        ACTIONS[action](self)
        acted = time.monotonic()
        self.deploy(f"after-{action}")
        took = time.monotonic() - acted
        self.say(f"{action} took {acted - begun:.0f} s, the deployment after it {took:.0f} s")

    def updated(self, changed: Mapping[str, Any]) -> Stack:
        """Update the stack to a template, and wait until it is."""
        self.heat.update_stack(self.name, changed)
        return self.settled("UPDATE_COMPLETE")

    def settled(self, status: str) -> Stack:
        """Wait until the stack has a status."""
        deadline = time.monotonic() + self.timeout
        while True:
            stack = self.heat.stack(self.name)
            self._show_changes()
            if stack.status == status:
                return stack
            if stack.status.endswith("_FAILED"):
                raise HeatError(f"stack {self.name} is {stack.status}: {stack.reason}")
            if time.monotonic() > deadline:
                raise HeatError(f"stack {self.name} is {stack.status} after {self.timeout:.0f} s")
            time.sleep(_POLL_SECONDS)

    def _show_changes(self) -> None:
        now = self.heat.resource_statuses(self.name)
        for resource, status in now.items():
            begun = not status.startswith("INIT")
            if begun and self._seen.get(resource) != status and not resource.endswith("_config"):
                self.say(f"    {resource} {status}")
        self._seen = now

    def check(self, stack: Stack, who: str) -> None:
        """Raise TrialError where the outputs are not those of deployments that greet `who`."""
        expected = {
            "greet_deploy_stdout": f"hello {who}\n",
            "greet_number": "7",
            "greet_deploy_status_code": 0,
            "loud_deploy_stdout": "x" * 10000,
        }
        self.expect(stack.status, stack.outputs, expected)
        self.say(f"{stack.status}, all outputs are right")

    def expect(self, after: str, outputs: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        """Raise TrialError where outputs are not as expected."""
        wrong = {key: outputs.get(key) for key in expected if outputs.get(key) != expected[key]}
        if wrong:
            raise TrialError(f"after {after} these outputs are wrong: {wrong}")

    def server_id(self) -> str:
        """Return Nova's id of the server."""
        return self.heat.resource(self.name, SERVER).physical_id

    def server_is(self, status: str) -> None:
        """Wait until Nova has done what it was asked for and shows a status."""
        deadline = time.monotonic() + self.timeout
        while True:
            server = self.cloud.compute.get_server(self.server_id())
            if server.status == status and server.task_state is None:
                self.say(f"    Nova's server is {status}")
                return
            if server.status == "ERROR" or time.monotonic() > deadline:
                raise TrialError(f"Nova's server is {server.status}, not {status}: {server.fault}")
            time.sleep(_POLL_SECONDS)


def reboot(trial: Trial, how: str) -> None:
    """Reboot the server by Nova; `how` is SOFT or HARD."""
    trial.cloud.compute.reboot_server(trial.server_id(), how)
    trial.server_is("ACTIVE")


def rebuild(trial: Trial) -> None:
    """Give the server a fresh disk of its image."""
    image = trial.cloud.image.find_image(trial.name, ignore_missing=False)
    trial.cloud.compute.rebuild_server(trial.server_id(), image=image.id)
    trial.server_is("ACTIVE")


def suspend_and_resume(trial: Trial) -> None:
    """Suspend the server by Nova, and resume it."""
    trial.cloud.compute.suspend_server(trial.server_id())
    trial.server_is("SUSPENDED")
    trial.cloud.compute.resume_server(trial.server_id())
    trial.server_is("ACTIVE")


def suspend_and_resume_stack(trial: Trial) -> None:
    """Suspend the stack by Heat, and resume it: a deployment runs at each."""
    for begin, action in (
        (trial.heat.suspend_stack, "SUSPEND"),
        (trial.heat.resume_stack, "RESUME"),
    ):
        begin(trial.name)
        outputs = trial.settled(f"{action}_COMPLETE").outputs
        trial.expect(action, outputs, {"cycle_deploy_stdout": f"{action}\n"})


def deploy_to_a_group(trial: Trial) -> None:
    """Boot a second server, and deploy to both."""
    assert trial.server is not None
    outputs = trial.updated(group_template("both", trial.server)).outputs
    stdouts = {"0": "hello both\n", "1": "hello both\n"}
    trial.expect("group", outputs, {f"{_GROUP}_deploy_stdouts": stdouts})


def deploy_a_farewell(trial: Trial) -> None:
    """Deploy what runs when it is deleted: the next update waits for it."""
    trial.check(trial.updated(template("farewell", trial.server, farewell=True)), "farewell")


def boot_a_snapshot(trial: Trial) -> None:
    """Boot a snapshot as another stack's server, and deploy to both."""
    assert trial.server is not None
    copied = f"{trial.name}-copy"
    trial.cloud.compute.create_server_image(
        trial.server_id(), copied, wait=True, timeout=trial.timeout
    )
    server = {**trial.server, "image": copied}
    other = Trial(trial.cloud, trial.heat, copied, server, trial.timeout, trial.say)
    other.begin()
    other.created()
    trial.deploy("original")
    other.deploy("copy")
    other.delete()


def restore(trial: Trial) -> None:
    """Have Heat take a snapshot of the stack, and restore it over an update."""
    trial.deploy("kept")
    snapshot = trial.heat.snapshot_stack(trial.name)
    trial.settled("SNAPSHOT_COMPLETE")
    trial.deploy("undone")
    trial.heat.restore_stack(trial.name, snapshot)
    trial.check(trial.settled("RESTORE_COMPLETE"), "kept")


ACTIONS: Mapping[str, Callable[[Trial], None]] = {
    "soft-reboot": lambda trial: reboot(trial, "SOFT"),
    "hard-reboot": lambda trial: reboot(trial, "HARD"),
    "suspend": suspend_and_resume,
    "stack-suspend": suspend_and_resume_stack,
    "rebuild": rebuild,
    "farewell": deploy_a_farewell,
    "group": deploy_to_a_group,
    "snapshot": boot_a_snapshot,
    "restore": restore,
}
