"""What a failure on the way to a service comes from, and what time the service has."""

import contextlib
import email.utils
import socket
import ssl
import time

import requests

from heat_config_zaqar.errors import TemporaryError
from heat_config_zaqar.settings import Settings


def cause_of(error: BaseException) -> BaseException:
    """Return what the libraries have wrapped: what the system or its TLS library said."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def failed_step(error: BaseException | None) -> str:
    """Return which step failed: `name`, `connection`, `certificate`; empty for what comes later."""
    cause = cause_of(error) if error else None
    if isinstance(cause, socket.gaierror | ValueError):
        return "name"
    # The settings name a CA file that is not there.
    if isinstance(cause, ssl.SSLError | TemporaryError):
        return "certificate"
    return "connection" if isinstance(cause, OSError) else ""


def clock_ahead(url: str, settings: Settings) -> float | None:
    """Return how many seconds this clock is ahead of a service's; None where it does not say.

    No certificate is verified, since a wrong clock is a reason to refuse one; nothing is sent.
    """
    with contextlib.suppress(OSError, ValueError):
        timeout = settings.request_timeout
        answer = requests.get(url, verify=False, timeout=timeout, stream=True)  # noqa: S501
        with answer:
            said = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
        return time.time() - said.timestamp()
    return None
