"""What a guest asks of Heat's API and says to it, as a stack user.

Invariant: nothing here changes a deployment that is no longer in progress.
"""

from typing import Any
from urllib.parse import quote

from heat_config_zaqar.errors import PermanentError
from heat_config_zaqar.wire.failures import translated
from heat_config_zaqar.wire.session import Connection


def deployments_of_server(user: Connection, server_id: str) -> list[Any]:
    """Ask Heat for the deployments of a server, as they are now.

    `GET /software_deployments/metadata/{server_id}` is open to every stack user of the stack.
    """
    path = f"/software_deployments/metadata/{_quoted(server_id)}"
    response = user.request("GET", path, service="orchestration", what="asking Heat")
    with translated(f"reading Heat's answer for server {server_id}"):
        answer = response.json()
    deployments = answer.get("metadata") if isinstance(answer, dict) else None
    if not isinstance(deployments, list):
        raise PermanentError(f"Heat's answer for server {server_id} has no list of deployments")
    return deployments


def signal_resource(
    user: Connection, stack_id: str, resource_name: str, body: dict[str, Any]
) -> None:
    """Signal a deployment through Heat's own API, which ignores one not in progress.

    :param stack_id: `name/uuid`, as in the input `deploy_stack_id`.
    """
    stack = "/".join(map(_quoted, stack_id.split("/")))
    path = f"/stacks/{stack}/resources/{_quoted(resource_name)}/signal"
    what = f"signalling {resource_name} of stack {stack_id} through Heat"
    user.request("POST", path, service="orchestration", what=what, json=body)


def _quoted(name: str) -> str:
    """Return a name as one part of a path: Heat's resources may be called `a#1` or `what?`."""
    return quote(name, safe="", errors="replace")
