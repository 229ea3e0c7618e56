"""Which config took another's place: a stack update makes a new one for the same deployment.

Heat keeps the resource, and for its life the signal queue, and waits for the newest config alone.
This is the one answer to "is there a newer config?", for receipt, run, delivery and operator.
Invariant: two configs are of one deployment when stack and resource are the same; where the
metadata does not name these, when the signal queue is.
"""

from collections.abc import Iterable
from typing import Protocol

Target = tuple[str, ...]


class Config(Protocol):
    """What is compared: a deployment of the metadata, or the result of one."""

    @property
    def id(self) -> str: ...

    @property
    def creation_time(self) -> str: ...

    @property
    def target(self) -> Target: ...


def target_of(stack_id: str, resource_name: str, queue: str) -> Target:
    """Return what tells deployments apart; empty where nothing does."""
    if stack_id and resource_name:
        return (stack_id, resource_name)
    return (queue,) if queue else ()


class Succession:
    """The newest config of each deployment among those that are known."""

    def __init__(self, configs: Iterable[Config]) -> None:
        self._newest: dict[Target, Config] = {}
        for config in configs:
            known = self._newest.get(config.target)
            if known is None or config.creation_time > known.creation_time:
                self._newest[config.target] = config

    def successor(self, config: Config) -> Config | None:
        """Return the newer config that took the place of this one; None where it is the newest."""
        newest = self._newest.get(config.target) if config.target else None
        if newest is None or newest.creation_time <= config.creation_time:
            return None
        return newest
