import json
import math
import time

from hypothesis import given
from hypothesis import strategies as st

from heat_config_zaqar.signal_body import (
    CONFIG_ID,
    STATUS_CODE,
    STDERR,
    STDOUT,
    fit,
    storable,
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


def test_only_the_output_that_does_not_fit_goes() -> None:
    body = {
        "huge": [number * 1000 for number in range(60_000)],
        "list": [1, 2, 3],
        "text": "kept",
        "number": 7,
        STDOUT: "said\n" * 1000,
        STATUS_CODE: 0,
    }
    fitted = fit(body, 262_144)
    size = len(json.dumps(body["huge"]))
    assert size > 400_000
    assert fitted == {**body, "huge": f"[{size} bytes did not fit]"}


def test_of_outputs_that_do_not_fit_together_the_largest_goes_and_the_streams_keep_some_room() -> (
    None
):
    body = {"a": "x" * 9000, "b": list(range(1000)), STDOUT: "s" * 50_000, STATUS_CODE: 0}
    fitted = fit(body, 10_000)
    assert len(json.dumps(fitted)) <= 10_000
    assert fitted["b"] == body["b"]
    assert fitted["a"].endswith("x" * 1000)
    assert fitted[STDOUT].endswith("s" * 2000)


def test_outputs_that_cannot_be_cut_still_give_the_true_status_code() -> None:
    many: dict[str, object] = {f"output_{number}": number for number in range(1000)}
    fitted = fit({**many, STATUS_CODE: 3, CONFIG_ID: "d0"}, 10_000)
    assert fitted[STATUS_CODE] == 3
    assert fitted[CONFIG_ID] == "d0"
    assert "did not fit" in fitted[STDERR]


def test_ten_thousand_outputs_are_fitted_quickly() -> None:
    many = {f"output_{number}": "x" * 1000 for number in range(10_000)}
    began = time.process_time()
    assert len(json.dumps(fit({**many, STATUS_CODE: 0}, 1_000_000))) <= 1_000_000
    assert time.process_time() - began < 10


def test_what_json_or_a_store_does_not_hold_becomes_text() -> None:
    body = {
        "surrogate": "a\ud800b",
        "key\udfff": 1,
        7: {"nested": [2**70, -(2**63) - 1]},
        "numbers": [2**63 - 1, -(2**63), 1e300, 0.5, True, None],
        "none": [math.nan, math.inf, -math.inf],
    }
    assert storable(body) == {
        "surrogate": "a\\ud800b",
        "key\\udfff": 1,
        "7": {"nested": [str(2**70), str(-(2**63) - 1)]},
        "numbers": [2**63 - 1, -(2**63), 1e300, 0.5, True, None],
        "none": ["nan", "inf", "-inf"],
    }
    json.dumps(storable(body), allow_nan=False).encode()


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
