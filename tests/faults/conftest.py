"""The real Keystone and Zaqar, with Heat played and a proxy before each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cloud import Cloud
from tests.chaos import tenant
from tests.chaos.guest import Guest
from tests.chaos.surroundings import Surroundings

_PLACE = tenant.Place(9)
_ROUNDS = 10


@pytest.fixture(name="surroundings", scope="session")
def surroundings_fixture(cloud_directory: Path) -> Iterator[Surroundings]:
    cloud = Cloud(cloud_directory)
    # Another tier's cloud stays up.
    was_up = any(cloud.status().values())
    tenant.start(cloud)
    around = Surroundings(tenant.make(cloud, [_PLACE]), _PLACE)
    yield around
    around.close()
    if not was_up:
        cloud.down()


class Loop:
    """One guest and its Heat, which can go round until nothing waits."""

    def __init__(self, around: Surroundings, directory: Path, seed: int) -> None:
        self.around = around
        section = around.call("begin", seed)
        self.guest = Guest(directory, section, around.token, request_timeout=10, push=False)

    def go_round(self, times: int = 1) -> int:
        """Collect, apply and deliver; return how many deployments Heat still waits for."""
        for _ in range(times):
            for entry in ("collect", "apply", "deliver"):
                self.guest.run(entry)
        waiting: int = self.around.call("poll")
        return waiting

    def settle(self) -> None:
        """Go on without faults until Heat waits for nothing; more of it changes nothing."""
        self.around.call("open")
        for _ in range(_ROUNDS):
            if self.go_round() == 0:
                break
        self.go_round(2)

    @property
    def log(self) -> str:
        """What the guest's programs wrote to their standard error."""
        return (self.guest.directory / "log").read_text()

    def check(self, deployments: int, runs: int | None = None) -> None:
        """All is well: each of so many deployments was run once, and signalled once.

        :param runs: how many hooks were started, where that is not once for each.
        """
        found = self.around.call("end")
        log = self.log
        assert found["lost"] == [], log
        assert found["troubles"] == [], log
        assert self.guest.troubles == [], log
        assert len(found["signals"]) == deployments
        assert [what for what, _, _ in self.guest.runs()].count("start") == (runs or deployments)
        assert "Traceback" not in log


@pytest.fixture(name="loop")
def loop_fixture(
    surroundings: Surroundings, tmp_path: Path, request: pytest.FixtureRequest
) -> Loop:
    return Loop(surroundings, tmp_path, abs(hash(request.node.name)) % 2**32)
