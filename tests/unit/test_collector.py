"""The collector's decisions, on a real store, with the cloud's answers in its place.

What it says to a real cloud is in tests/integration.
"""

from pathlib import Path
from typing import Any, cast

from heat_config_zaqar.collector import Collector
from heat_config_zaqar.errors import PermanentError, TemporaryError
from heat_config_zaqar.messaging import Connection
from heat_config_zaqar.metadata_store import MetadataStore, deployments_of
from heat_config_zaqar.settings import Settings
from tests.unit.conftest import make_deployment, make_message


class Answers:
    """A cloud that gives one answer: a fault that a real Heat does not show on demand."""

    def __init__(self, bodies: list[Any], heat: list[Any] | Exception) -> None:
        self.bodies = bodies
        self.heat = heat
        self.asked = 0

    def queue(self, _: str) -> "Answers":
        return self

    def messages(self) -> list[tuple[str, Any]]:
        return [(str(number), body) for number, body in enumerate(self.bodies)]

    def delete(self, ids: list[str]) -> None:
        assert len(ids) == len(self.bodies)

    def deployments(self, _: str) -> list[Any]:
        self.asked += 1
        if isinstance(self.heat, Exception):
            raise self.heat
        return self.heat


def received(tmp_path: Path, answers: Answers, times: int = 1) -> list[str]:
    settings = Settings(state_dir=tmp_path)
    collector = Collector(settings, tmp_path / "zaqar.json")
    for _ in range(times):
        collector._receive(cast("Connection", answers), "q")
    stored = MetadataStore(settings.metadata_file).load()
    return sorted(item.id for item in deployments_of(stored or {}))


def in_doubt() -> list[Any]:
    a, b = make_deployment("a"), make_deployment("b")
    return [make_message(a, b), make_message(a)]


def test_heats_answer_decides_a_batch_in_doubt(tmp_path: Path) -> None:
    answers = Answers(in_doubt(), [make_deployment("b"), "text", make_deployment("c")])
    assert received(tmp_path, answers) == ["b", "c"]


def test_without_heat_all_unfinished_deployments_stay_and_heat_is_asked_again(
    tmp_path: Path,
) -> None:
    answers = Answers(in_doubt(), TemporaryError("away"))
    assert received(tmp_path, answers, times=2) == ["a", "b"]
    assert answers.asked == 2


def test_a_heat_that_refuses_is_not_asked_for_the_same_batch_again(tmp_path: Path) -> None:
    answers = Answers(in_doubt(), PermanentError("refused"))
    assert received(tmp_path, answers) == ["a", "b"]
    answers.bodies = []
    assert received(tmp_path, answers) == ["a", "b"]
    assert answers.asked == 1


def test_heat_is_not_asked_where_there_is_no_doubt(tmp_path: Path) -> None:
    answers = Answers([make_message(make_deployment("a"))], [])
    assert received(tmp_path, answers) == ["a"]
    assert answers.asked == 0


def test_messages_are_deleted_only_after_they_are_stored(tmp_path: Path) -> None:
    store = MetadataStore(Settings(state_dir=tmp_path).metadata_file)

    class Looking(Answers):
        def delete(self, ids: list[str]) -> None:
            assert ids == ["0"]
            assert [item.id for item in deployments_of(store.load() or {})] == ["a"]

    received(tmp_path, Looking([make_message(make_deployment("a"))], []))
