"""A real Keystone, Zaqar and Heat on loopback, with their stores, for tests and demonstrations.

`Cloud` is the whole interface; `python -m testbed.cloud` is the same from a shell. Everything
listens on 127.0.0.1 only, looks no name up and lives below one directory.

To add a service: a port in `layout`, its files in `configuration`, its command in `services`.
"""

from testbed.cloud.cloud import Cloud
from testbed.cloud.processes import CloudError

__all__ = ["Cloud", "CloudError"]
