from heat_config_zaqar.backoff import Backoff


def longest(low: float, high: float) -> float:
    assert low == high / 2
    return high


def test_waits_double_up_to_the_cap_and_begin_anew() -> None:
    backoff = Backoff(1, 5, chance=longest)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


def test_years_of_tries_stay_at_the_cap() -> None:
    backoff = Backoff(1, 60, chance=longest)
    assert {backoff.next() for _ in range(5000)} >= {60}


def test_full_jitter_spreads_over_the_whole_wait() -> None:
    backoff = Backoff(8, 8, least=0)
    waits = [backoff.next() for _ in range(1000)]
    assert min(waits) < 1
    assert 7 < max(waits) <= 8
