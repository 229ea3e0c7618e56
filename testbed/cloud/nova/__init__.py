"""Placement, Glance, Neutron and Nova beside the cloud's Heat, for guests that Nova boots.

Invariant: none of it is installed, started or asked for by a cloud without Nova. Guests are QEMU's,
emulated, and reach the services over the bridge of `python -m testbed.isolated --bridge`.
"""

from pathlib import Path

from testbed.cloud.nova.configuration import DATABASES, files
from testbed.cloud.nova.machine import require_machine
from testbed.cloud.nova.services import services

REQUIREMENTS = Path(__file__).with_name("requirements.txt")

__all__ = ["DATABASES", "REQUIREMENTS", "files", "require_machine", "services"]
