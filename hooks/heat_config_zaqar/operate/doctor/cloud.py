"""Checks of the cloud: the way to Keystone, and what its catalog leads to."""

import contextlib
import json

import requests

from heat_config_zaqar.errors import HeatConfigError, UnauthorizedError
from heat_config_zaqar.operate.doctor.guest import Guest, NotChecked, Problem
from heat_config_zaqar.operate.doctor.reach import (
    STEPS,
    address_of,
    cause_of,
    clock_ahead,
    failed_step,
    families_of,
)
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.failures import brief
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import proxy_for

# Tokens and certificates are judged by the clock; a minute is more than a healthy NTP leaves.
_CLOCK_SECONDS = 60
# Heat's own post fails when the metadata of a server has grown to the queue's limit.
_FULL_SHARE = 0.8


def _proxy(guest: Guest) -> str:
    failed, url = failed_step(guest.refusal), guest.login[0].auth_url
    if failed == "proxy" and guest.refusal is not None:
        proxy = address_of(proxy_for(url, guest.settings))
        advice = "is `proxy` of /etc/heat-config-zaqar.toml right, and does it run?"
        raise Problem(f"proxy {proxy}: {brief(cause_of(guest.refusal))}", advice)
    wish = ""
    with contextlib.suppress(ValueError):
        wish = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) or ""
    if wish and not guest.settings.proxy and failed in ("name", "connection"):
        advice = "set `proxy` in /etc/heat-config-zaqar.toml: the environment's is not used"
        raise Problem(f"Keystone is not reached without proxy {address_of(wish)}", advice)
    return "none that fails"


def _name(guest: Guest) -> str:
    return _step(guest, "name", "resolves", "look at /etc/resolv.conf and the network")


def _connection(guest: Guest) -> str:
    advice = "look at the route, the firewall, and whether Keystone runs"
    return _step(guest, "connection", "accepts connections", advice)


def _clock(guest: Guest) -> str:
    if failed_step(guest.refusal) not in ("", "certificate"):
        raise NotChecked("Keystone cannot be reached")
    ahead = clock_ahead(guest.login[0].auth_url, guest.settings)
    if ahead is None:
        raise NotChecked("Keystone did not say what time it is")
    if abs(ahead) > _CLOCK_SECONDS:
        side = "ahead of" if ahead > 0 else "behind"
        advice = "set the clock, and look at chrony or systemd-timesyncd"
        raise Problem(f"the clock is {abs(ahead):.0f} s {side} Keystone's", advice)
    return f"within {max(abs(ahead), 1):.0f} s of Keystone's"


def _certificate(guest: Guest) -> str:
    advice = "put the CA of the cloud into ca_file of /etc/heat-config-zaqar.toml"
    is_trusted = _step(guest, "certificate", "is trusted", advice)
    is_plain = guest.login[0].auth_url.startswith("http:")
    return "not used: the address is http" if is_plain else is_trusted


def _keystone(guest: Guest) -> str:
    if guest.refusal is None:
        return "accepts the login"
    if failed_step(guest.refusal):
        raise NotChecked("Keystone cannot be reached")
    advice = "Keystone itself is in trouble: tell its operator"
    if isinstance(guest.refusal, UnauthorizedError):
        advice = "was the stack deleted? otherwise hand the server's metadata over once more"
    raise Problem(str(guest.refusal), advice)


def _queue(guest: Guest) -> str:
    queue = Queue(guest.catalog, guest.login[1])
    try:
        waiting = len(queue.messages())
    except HeatConfigError as error:
        advice = "is Zaqar in the catalog, running and reachable?"
        raise Problem(_why(guest, "messaging", error), advice) from None
    guest.queue = queue
    return f"{queue.name} can be read, {waiting} messages wait"


def _size_limit(guest: Guest) -> str:
    if guest.queue is None:
        raise NotChecked("the queue cannot be read")
    limit = guest.queue.largest_post()
    size = len(json.dumps(guest.report.stored.snapshot or {}))
    detail = f"the metadata takes {size} of {limit} bytes"
    if size > limit * _FULL_SHARE:
        advice = "raise max_messages_post_size of Zaqar: above it Heat cannot post the metadata"
        raise Problem(detail, advice)
    return detail


def _heat(guest: Guest) -> str:
    server_id = guest.report.server_id
    if not server_id and guest.report.is_in_doubt:
        advice = "update the stack: a message that comes from now on is read"
        detail = (
            "a message may have expired, and Heat cannot be asked: no deployment names this server"
        )
        raise Problem(detail, advice)
    if not server_id:
        raise NotChecked("no deployment says which server this is")
    try:
        known = len(heat.deployments_of_server(guest.catalog, server_id))
    except HeatConfigError as error:
        advice = (
            "make Heat's API reachable: the guest asks it when messages or signals are in doubt"
        )
        raise Problem(_why(guest, "orchestration", error), advice) from None
    return f"answers; it has {known} deployments for this server"


def _step(guest: Guest, step: str, works: str, advice: str) -> str:
    """Judge one step of the way to Keystone by how far the login came."""
    failed, url = failed_step(guest.refusal), guest.login[0].auth_url
    if failed == step and guest.refusal is not None:
        raise Problem(_at(url, guest.refusal), advice)
    if failed and STEPS.index(failed) < STEPS.index(step):
        raise NotChecked("Keystone cannot be reached")
    return f"{address_of(url)} {works}"


def _why(guest: Guest, service: str, error: HeatConfigError) -> str:
    """Return why a service of the catalog fails, with its address where it cannot be reached."""
    return _at(guest.catalog.endpoint(service), error) if failed_step(error) else str(error)


def _at(url: str, error: Exception) -> str:
    family = f" ({families_of(url)})" if failed_step(error) == "connection" else ""
    return f"{address_of(url)}{family}: {brief(cause_of(error))}"


CHECKS = (_proxy, _name, _connection, _clock, _certificate, _keystone, _queue, _size_limit, _heat)
