"""Neutron's part: each port is a tap device, of which Nova makes the guest's end.

Runs inside Neutron; libvirt-hook, beside this file, puts the tap device into the bridge.
"""

from typing import Any

from neutron_lib import constants  # type: ignore[import-not-found]
from neutron_lib.api.definitions import portbindings  # type: ignore[import-not-found]
from neutron_lib.plugins.ml2 import api  # type: ignore[import-not-found]

_DETAILS = {
    portbindings.CAP_PORT_FILTER: False,
    portbindings.VIF_DETAILS_CONNECTIVITY: portbindings.CONNECTIVITY_L2,
}


class TapMechanismDriver(api.MechanismDriver):  # type: ignore[misc]
    """Binds a port to the first segment that there can be, without an agent."""

    def initialize(self) -> None:
        """Do nothing: there is no agent to reach."""

    @property
    def connectivity(self) -> str:
        """What a bound port gives its guest."""
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: Any) -> None:
        """Bind a port as active (ML2's PortContext)."""
        for segment in context.segments_to_bind:
            if segment[api.NETWORK_TYPE] in (constants.TYPE_FLAT, constants.TYPE_LOCAL):
                context.set_binding(
                    segment[api.ID],
                    portbindings.VIF_TYPE_TAP,
                    _DETAILS,
                    status=constants.PORT_STATUS_ACTIVE,
                )
                return
