"""What a failure on the way to a service comes from, and what time the service has."""

import contextlib
import email.utils
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import urllib3.exceptions

from heat_config_zaqar.errors import TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.session import HttpSession

# The order in which they come.
STEPS = ("proxy", "name", "connection", "certificate")


def failed_step(error: BaseException | None) -> str:
    """Return which of the steps failed; empty for none, or what comes after them."""
    chain = list(_chain(error))
    if any(isinstance(item, urllib3.exceptions.ProxyError) for item in chain):
        return "proxy"
    cause = chain[-1] if chain else None
    # The settings name a CA file that is not there.
    if isinstance(cause, ssl.SSLError | TemporaryError):
        return "certificate"
    if isinstance(cause, socket.gaierror | ValueError):
        return "name"
    return "connection" if isinstance(cause, OSError) else ""


def cause_of(error: BaseException) -> BaseException:
    """Return what the libraries have wrapped: what the system or its TLS library said."""
    return list(_chain(error))[-1]


def address_of(url: str) -> str:
    """Return host and port of a URL, without a login that it may carry."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2] or url


def families_of(url: str) -> str:
    """Return by which kinds of address a URL's host is reached: `IPv4`, `IPv6` or both."""
    with contextlib.suppress(OSError, ValueError):
        found = {info[0].name for info in socket.getaddrinfo(urlsplit(url).hostname, None)}
        return " and ".join("IPv6" if name == "AF_INET6" else "IPv4" for name in sorted(found))
    return ""


def clock_ahead(url: str, settings: Settings) -> float | None:
    """Return how many seconds this clock is ahead of a service's; None where it does not say.

    No certificate is verified, since a wrong clock is a reason to refuse one; nothing is sent.
    """
    get = partial(HttpSession(settings).get, url, allow_redirects=False, stream=True)
    with contextlib.suppress(OSError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        with get(verify=False, timeout=settings.request_timeout) as answer:
            said = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
        return time.time() - said.timestamp()
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
