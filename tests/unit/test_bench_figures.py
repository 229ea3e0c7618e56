import pytest

from tests.bench.figures import distribution, percentile, summary


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (75, 3), (76, 4), (99, 4), (100, 4)])
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(
    percent: float, expected: float
) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_every_percentile_of_one_value_is_that_value() -> None:
    assert {percentile([7], percent) for percent in (1, 50, 99, 100)} == {7}


@pytest.mark.parametrize("percent", [0, -1, 100.5])
def test_there_is_no_percentile_beyond_all_values(percent: float) -> None:
    with pytest.raises(ValueError, match="percentile of 1 values"):
        percentile([1], percent)


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="of 0 values"):
        summary([])


def test_a_summary_tells_an_outlier_from_the_rest() -> None:
    values = [1.0] * 99 + [50.0]
    assert summary(values) == {"n": 100, "p50": 1, "p90": 1, "p99": 1, "max": 50}


def test_the_distribution_ends_at_one() -> None:
    assert distribution([3, 1]) == ([1, 3], [0.5, 1.0])
