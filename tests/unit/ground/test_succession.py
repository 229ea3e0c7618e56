from typing import NamedTuple

import pytest

from heat_config_zaqar.succession import Succession, Target, target_of


class Made(NamedTuple):
    id: str
    creation_time: str
    target: Target


def of(name: str, time: str, stack: str = "s/1", resource: str = "r", queue: str = "q") -> Made:
    return Made(name, time, target_of(stack, resource, queue))


def test_the_newest_config_of_a_resource_follows_all_others() -> None:
    configs = [of("a", "1"), of("c", "3"), of("b", "2")]
    found = [Succession(configs).successor(config) for config in configs]
    assert [config and config.id for config in found] == ["c", None, "c"]


@pytest.mark.parametrize(
    "other",
    [
        of("new", "2", resource="other"),
        of("new", "2", stack="s/2"),
        of("new", "1"),
    ],
)
def test_a_config_of_another_resource_or_of_the_same_second_follows_none(other: Made) -> None:
    assert Succession([other]).successor(of("old", "1")) is None


def test_without_stack_and_resource_the_queue_tells_configs_apart() -> None:
    newer = Succession([of("new", "2", stack="", queue="q")])
    assert newer.successor(of("old", "1", stack="", queue="q")) is not None
    assert newer.successor(of("old", "1", stack="", queue="other")) is None


def test_what_nothing_tells_apart_follows_nothing() -> None:
    newer = Succession([of("new", "2", stack="", queue="")])
    assert newer.successor(of("old", "1", stack="", queue="")) is None
