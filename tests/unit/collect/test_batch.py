import json
from typing import Any

import pytest

from heat_config_zaqar.collect.batch import next_snapshot
from heat_config_zaqar.snapshot import deployments_of
from tests.unit.conftest import SECTION, Make

NEWER = "2026-11-22T15:20:00Z"


def ids(snapshot: dict[str, Any] | None) -> list[str]:
    assert snapshot is not None
    return [item.id for item in deployments_of(snapshot)]


def nothing_finished(_: str) -> bool:
    return False


def test_no_message_makes_no_snapshot() -> None:
    assert next_snapshot(None, [], nothing_finished) == (None, [])


def test_snapshots_in_order_give_the_last_one_without_doubt(
    deployment: Make, message: Make
) -> None:
    a, b = deployment("a"), deployment("b")
    snapshot, missing = next_snapshot(
        None, [message(), message(a), message(a, b)], nothing_finished
    )
    assert (ids(snapshot), missing) == (["a", "b"], [])


def test_an_unfinished_deployment_that_the_last_message_lacks_is_kept_in_doubt(
    deployment: Make, message: Make
) -> None:
    a, b = deployment("a"), deployment("b")
    snapshot, missing = next_snapshot(None, [message(a, b), message(a)], nothing_finished)
    assert (sorted(ids(snapshot)), missing) == (["a", "b"], ["b"])


def test_a_finished_deployment_may_go(deployment: Make, message: Make) -> None:
    a, b = deployment("a"), deployment("b")
    snapshot, missing = next_snapshot(message(a, b), [message(a)], lambda item: item == "b")
    assert (ids(snapshot), missing) == (["a"], ["b"])


@pytest.mark.parametrize("newer_last", [True, False])
@pytest.mark.parametrize("transport", ["ZAQAR_SIGNAL", "HEAT_SIGNAL", "NO_SIGNAL"])
def test_of_one_resource_only_the_newest_config_stays_in_either_order(
    deployment: Make, message: Make, newer_last: bool, transport: str
) -> None:
    same = {"deploy_resource_name": "r", "deploy_signal_transport": transport}
    old = deployment("old", **same)
    new = deployment("new", **same, creation_time=NEWER)
    messages = [message(old), message(new)]
    snapshot, missing = next_snapshot(
        None, messages if newer_last else messages[::-1], nothing_finished
    )
    assert ids(snapshot) == ["new"]
    assert missing == ([] if newer_last else ["new"])


@pytest.mark.parametrize(
    "body", ["text", 3, None, [], {"deployments": "x"}, {"deployments": {"a": 1}}]
)
def test_a_message_that_is_no_snapshot_is_skipped_and_the_next_one_applied(
    deployment: Make, message: Make, body: object
) -> None:
    snapshot, _ = next_snapshot(None, [body, message(deployment("a"))], nothing_finished)
    assert ids(snapshot) == ["a"]


def test_a_malformed_deployment_costs_no_other(deployment: Make, message: Make) -> None:
    bad: Any = {"id": None}
    snapshot, _ = next_snapshot(None, [message(bad, "text", deployment("a"))], nothing_finished)
    assert ids(snapshot) == ["a"]
    assert snapshot is not None
    assert len(snapshot["deployments"]) == 1


@pytest.mark.parametrize("section", [None, {}, "x", {"zaqar": {}}, {"zaqar": {"user_id": 1}}])
def test_a_snapshot_without_a_usable_section_keeps_the_last_one(
    deployment: Make, message: Make, section: object
) -> None:
    snapshot, _ = next_snapshot(
        message(), [message(deployment("a"), section=section)], nothing_finished
    )
    assert snapshot is not None
    assert snapshot["os-collect-config"] == SECTION


def test_what_is_nested_too_deep_to_be_stored_costs_nothing_else(
    deployment: Make, message: Make
) -> None:
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    body = {**message(deployment("a"), deployment("b", config=deep)), "else": deep}
    snapshot, _ = next_snapshot(None, [body], nothing_finished)
    assert ids(snapshot) == ["a", "b"], "b ends in a signal that says why it cannot be run"
    assert snapshot is not None
    assert "else" not in snapshot
    json.dumps(snapshot)
