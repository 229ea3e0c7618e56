import pytest

from heat_config_zaqar.backoff import pause, spread


def test_waits_double_up_to_the_cap() -> None:
    waits: list[float] = []
    for _ in range(6):
        waits.append(pause(sum(waits), 1, 5))
    assert waits == [1, 1, 2, 4, 5, 5]
    assert pause(1e9, 1, 5) == 5


@pytest.mark.parametrize("least", [0, 0.5])
def test_chance_leaves_at_least_a_part_of_a_wait(least: float) -> None:
    waits = [spread(8, least) for _ in range(1000)]
    assert 8 * least <= min(waits) < 8 * least + 1
    assert 7 < max(waits) <= 8


def test_no_wait_at_all_stays_none() -> None:
    assert spread(float("inf")) == float("inf")
