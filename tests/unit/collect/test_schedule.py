"""The schedule as a table: what happened, and when the queue is looked at after that."""

import dataclasses

import pytest

from heat_config_zaqar.collect.schedule import Schedule, State

NEVER = float("inf")
STARTED = 1000.0
IDLE = Schedule(poll_interval=10, changed=STARTED)


def looks(schedule: Schedule, begins: float, state: State, number: int) -> list[float]:
    """Return the seconds after `begins` of so many looks that find nothing, without chance."""
    now = begins
    found: list[float] = []
    while len(found) < number and now < NEVER:
        found.append(now - begins)
        schedule = schedule.looked(now, state, found=False)
        now += schedule.until_look(now)
    return found


@pytest.mark.parametrize(
    ("what", "begins", "state", "expected"),
    [
        ("a poll each second after the start", STARTED, State.POLLING, [0, 1, 2, 3]),
        ("a poll each interval when idle", STARTED + 60, State.POLLING, [0, 10, 20, 30]),
        ("nothing beside a WebSocket", STARTED, State.PUSH, [0]),
        ("a service that is away", STARTED + 60, State.AWAY, [0, 1, 2, 4, 8, 16, 31, 46, 61]),
        ("a login that is refused", STARTED, State.REFUSED, [0, 30, 60, 120, 240, 480, 960, 1860]),
    ],
)
def test_the_queue_is_read(what: str, begins: float, state: State, expected: list[float]) -> None:
    assert looks(IDLE, begins, state, len(expected)) == expected, what
    if expected == [0]:
        assert looks(IDLE, begins, state, 2) == expected, what


def test_after_a_wake_up_the_queue_is_read_again_for_some_seconds() -> None:
    """Zaqar notifies before it stores."""
    woken = dataclasses.replace(IDLE, woken=STARTED + 500)
    found = looks(woken, STARTED + 500, State.PUSH, 99)
    assert found == pytest.approx([0, 0.03, 0.06, 0.12, 0.24, 0.48, 0.96, 1.92, 3.84, 7.68])


def test_a_wake_up_that_meets_an_outage_is_followed_as_any_outage() -> None:
    woken = dataclasses.replace(IDLE, woken=STARTED)
    assert looks(woken, STARTED, State.AWAY, 4) == [0, 1, 2, 4]


def test_a_message_that_was_found_makes_polling_quick_again() -> None:
    late = STARTED + 500
    changed = IDLE.looked(late, State.POLLING, found=True)
    assert looks(changed, late + 59, State.POLLING, 3) == [0, 1, 11]


def test_trouble_begins_anew_after_it_was_over() -> None:
    away = IDLE.looked(STARTED, State.AWAY, found=False)
    assert away.looked(STARTED + 12, State.AWAY, found=False).until_look(STARTED + 12) == 12
    over = away.looked(STARTED + 12, State.POLLING, found=False)
    assert over.looked(STARTED + 13, State.AWAY, found=False).until_look(STARTED + 13) == 1


@pytest.mark.parametrize(("after", "expected"), [(0, 5), (59, 5), (60, 30)])
def test_a_command_that_failed_is_tried_again_soon_after_a_change(
    after: float, expected: float
) -> None:
    assert IDLE.until_others(STARTED + after, 30) == expected
