import json

from hypothesis import given
from hypothesis import strategies as st

from heat_config_zaqar.signal_body import (
    CONFIG_ID,
    STATUS_CODE,
    STDERR,
    STDOUT,
    fit,
)


def test_a_body_that_fits_is_left_alone() -> None:
    body = {STDOUT: "x" * 100, STATUS_CODE: 0}
    assert fit(body, 1000) is body


def test_both_streams_keep_their_end_and_say_how_much_was_cut() -> None:
    body = {STDOUT: "a" * 5_000_000 + "END", STDERR: "b" * 5_000_000 + "FIN", STATUS_CODE: 3}
    fitted = fit({**body, "result": "kept"}, 262144 - 256)
    assert len(json.dumps(fitted)) <= 262144 - 256
    assert fitted[STATUS_CODE] == 3
    assert fitted["result"] == "kept"
    for key, end in ((STDOUT, "END"), (STDERR, "FIN")):
        assert fitted[key].startswith("[")
        assert "characters cut]" in fitted[key].splitlines()[0]
        assert fitted[key].endswith(end)
        assert len(fitted[key]) > 100_000


def test_a_short_stream_leaves_its_room_to_the_long_one() -> None:
    fitted = fit({STDOUT: "short", STDERR: "x" * 100_000, STATUS_CODE: 1}, 50_000)
    assert fitted[STDOUT] == "short"
    assert len(fitted[STDERR]) > 45_000


def test_huge_outputs_are_cut_after_the_streams() -> None:
    fitted = fit({STDOUT: "s" * 1000, "big": "o" * 100_000, STATUS_CODE: 0}, 10_000)
    assert len(json.dumps(fitted)) <= 10_000
    assert fitted["big"].endswith("o" * 1000)


def test_outputs_that_cannot_be_cut_still_give_the_true_status_code() -> None:
    fitted = fit({"big": list(range(100_000)), STATUS_CODE: 0, CONFIG_ID: "d0"}, 10_000)
    assert fitted[STATUS_CODE] == 0
    assert fitted[CONFIG_ID] == "d0"
    assert "did not fit" in fitted[STDERR]


@given(
    st.dictionaries(
        st.sampled_from([STDOUT, STDERR, "a", "b"]),
        st.text() | st.integers() | st.lists(st.text(), max_size=3),
    ),
    st.integers(-(2**31), 2**31),
    st.integers(400, 2000),
)
def test_any_body_fits_and_keeps_its_status_code(
    body: dict[str, object], status: int, limit: int
) -> None:
    grown = {key: value * 50 if isinstance(value, str) else value for key, value in body.items()}
    fitted = fit({**grown, STATUS_CODE: status}, limit)
    assert len(json.dumps(fitted)) <= limit
    assert fitted[STATUS_CODE] == status
