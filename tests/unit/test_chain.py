"""No snapshot ends the guest or costs another deployment its signal; tests/fuzz tries far more.

Everything is tried twice: as the fuzzer does, in one process, and with processes for hooks and the
executable template, and all of HTTP but the sockets.
"""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.chain import BrokenError, Guest
from tests.fuzz.examples import EXAMPLES, PRINTED
from tests.fuzz.hostile import TRANSPORTS, Maker, case_of, printed_by_hook


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def guest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    with Guest(tmp_path_factory.mktemp("guest"), real_processes=request.param) as made:
        yield made


def test_a_chain_without_a_cloud_is_noticed(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest.cloud, "answer", lambda *_: (503, {}))
    with pytest.raises(BrokenError):
        guest.run(EXAMPLES["nothing is wrong"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_snapshot_costs_no_signal(name: str, guest: Guest) -> None:
    guest.run(EXAMPLES[name])


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_hook_that_failed_is_told_as_failed(name: str, transport: str, guest: Guest) -> None:
    guest.signal(*PRINTED[name], transport)


def test_no_snapshot_breaks_the_chain(guest: Guest) -> None:
    any_bytes(20, lambda data: guest.run(case_of(data)))


def test_no_output_breaks_the_chain(guest: Guest) -> None:
    def signal(data: bytes) -> None:
        maker = Maker(data)
        guest.signal(printed_by_hook(maker), 0, maker.one_of(TRANSPORTS))

    any_bytes(50, signal)


def any_bytes(examples: int, act: Callable[[bytes], None]) -> None:
    @settings(max_examples=examples)
    @given(st.binary(max_size=300))
    def try_one(data: bytes) -> None:
        act(data)

    try_one()
