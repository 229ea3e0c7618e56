"""Loaded by the test cloud's Heat: OS::Nova::Server in a cloud without Nova.

Heat's own code makes the user-data; where it hands it to Nova, it ends in the file `user-data` of
the engine's home.
"""

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from heat.engine.properties import Schema
from heat.engine.resources.openstack.nova.server import Server


class OfflineServer(Server):
    """Heat's server, with answers in the places where it asks Nova, Neutron or Glance."""

    properties_schema = {**Server.properties_schema, Server.FLAVOR: Schema(Schema.STRING)}

    @classmethod
    def is_service_available(cls, context: Any) -> tuple[bool, None]:
        return True, None

    def translation_rules(self, props: Any) -> list[Any]:
        return []

    def validate(self) -> None:
        pass

    def client(self, name: str | None = None, version: str | None = None) -> Any:
        if name:
            return super().client(name, version)
        return SimpleNamespace(servers=SimpleNamespace(create=_create, delete=lambda _: None))

    def check_create_complete(self, server_id: str) -> bool:
        return True

    def check_delete_complete(self, progress: Any) -> bool:
        return True


def _create(userdata: str, **_: Any) -> Any:
    part = Path.home() / "user-data.part"
    part.write_text(userdata)
    part.rename(part.with_suffix(""))
    return SimpleNamespace(id=str(uuid.uuid4()))


def resource_mapping() -> dict[str, type[Any]]:
    return {"OS::Nova::Server": OfflineServer}
