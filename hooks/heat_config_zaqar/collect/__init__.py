"""Takes the server's metadata from its queue: os-collect-config's `zaqar` collector.

Owns when the queue is read, what becomes of its messages, and how os-collect-config is started.
Never deletes a message before what it says is on disk, and never runs or signals a deployment.
"""

from heat_config_zaqar.collect import deferred

# Before any module of this folder imports os-collect-config.
deferred.defer()
