"""A real Keystone, Zaqar and Heat, with their stores, for tests and demonstrations.

`Cloud` is the whole interface; `python -m testbed.cloud` is the same from a shell. Everything
listens on one address only, looks no name up and lives below one directory. The address is
127.0.0.1, or that of the bridge of `python -m testbed.isolated --bridge`, where `up --nova` adds
Placement, Glance, Neutron and Nova (`testbed.cloud.nova`).

To add a service: a port in `layout`, its files in `configuration`, its command in `services`.
"""

from testbed.cloud.cloud import Cloud
from testbed.cloud.processes import CloudError

__all__ = ["Cloud", "CloudError"]
