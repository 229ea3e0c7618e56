from typing import Any

import pytest

from tests.bench.tables import guest_hour

_NOTHING = dict.fromkeys(("keystone", "mariadb", "zaqar", "redis", "zaqar-websocket"), 0.0)


def _window(seconds: float, requests: dict[str, int] | None = None, **cpu: float) -> dict[str, Any]:
    used = {name.replace("_", "-"): value for name, value in cpu.items()}
    return {"seconds": seconds, "cpu_seconds": _NOTHING | used, "requests": requests or {}}


def _idle_for_an_hour(**cpu: float) -> dict[str, Any]:
    """Return a run of ten guests, four of them by WebSocket; each fourth request is theirs."""
    return {
        **_window(3600, {"zaqar GET": 30, "zaqar-websocket message_list": 10}, **cpu),
        "guests": 10,
        "by_websocket": 4,
        "alone": _window(360),
        "login_cpu_seconds": 0.5,
        "bringing_up": _window(360, keystone=8),
    }


def test_each_way_of_hearing_pays_for_its_service_and_its_share_of_the_stores() -> None:
    cost = guest_hour(_idle_for_an_hour(zaqar=6, zaqar_websocket=2, redis=8))
    assert cost["polling"] == pytest.approx((6 + 8 * 0.75) / 6)
    assert cost["push"] == pytest.approx((2 + 8 * 0.25) / 4)


def test_what_the_services_take_without_guests_is_not_theirs() -> None:
    run = _idle_for_an_hour(zaqar=6)
    run["alone"] = _window(360, zaqar=0.6)
    assert guest_hour(run)["polling"] == pytest.approx(0)


def test_the_end_of_a_token_costs_a_login_and_by_websocket_a_connection() -> None:
    cost = guest_hour(_idle_for_an_hour(zaqar=6, zaqar_websocket=4))
    assert cost["polling_hour"] == pytest.approx(3600 / (1 + 0.5))
    assert cost["push_hour"] == pytest.approx(3600 / (1 + 0.5 + 8 / 4))
    assert cost["push_day"] == pytest.approx(3600 / (1 + (0.5 + 8 / 4) / 24))
