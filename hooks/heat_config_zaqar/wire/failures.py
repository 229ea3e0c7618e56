"""What a failure on the wire means, decided here and nowhere else.

Invariant: whatever Keystone, Zaqar, Heat or the way to them does leaves the room as TemporaryError,
AmbiguousError, PermanentError or one of their kinds; no message of theirs holds a secret. Only a
connection that fails says something of the service; an answer is about the request alone.
"""

import contextlib
from collections.abc import Iterator

import requests
import urllib3.exceptions
from keystoneauth1 import exceptions as keystone_errors
from zaqarclient import errors as zaqar_errors

from heat_config_zaqar.errors import (
    AmbiguousError,
    PermanentError,
    RejectedError,
    TemporaryError,
    UnacceptableError,
    UnauthorizedError,
)
from heat_config_zaqar.settings import is_http_url

# Whatever an answer holds that is none; and requests says by OSError that a CA file has gone.
_NONSENSE = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError)
_LIBRARIES = (
    keystone_errors.ClientException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    zaqar_errors.ZaqarError,
)
_AWAY = (keystone_errors.ConnectionError, requests.ConnectionError, requests.Timeout)


@contextlib.contextmanager
def translated(what: str, *, secret: bool = False) -> Iterator[None]:
    """Turn what the libraries raise into the package's own errors.

    :param secret: what they say may hold a secret: only the kind of the failure is told.
    """
    try:
        yield
    except (*_LIBRARIES, *_NONSENSE, TypeError, ValueError) as error:
        own = _own_error(error, f"{what}: {_root_kind(error) if secret else brief(error)}")
        if isinstance(own, TemporaryError):
            own.is_away = isinstance(error, _AWAY)
        raise own from (None if secret else error)


def check_address(address: str, what: str) -> None:
    """Check that requests can be sent to an address.

    :raises PermanentError: it is no URL of HTTP.
    """
    if not is_http_url(address):
        raise PermanentError(f"{what}: the address is not an HTTP URL")


def _own_error(error: Exception, message: str) -> TemporaryError | PermanentError:
    if isinstance(error, keystone_errors.SSLError | requests.exceptions.SSLError):
        return TemporaryError(f"{message}; is the CA of the cloud in ca_file?")
    if isinstance(error, keystone_errors.HttpError):
        return _by_status(error.http_status, f"{message} (from Keystone)")
    if isinstance(error, keystone_errors.CatalogException):
        return RejectedError(f"{message} (not in the catalog)")
    # A connection that broke, or an answer that makes no sense: by then the request had left.
    return TemporaryError(message) if _never_left(error) else AmbiguousError(message)


def check(response: requests.Response, what: str, *, secret: bool = False) -> None:
    """Raise what an answer means that is no success; `what` says what was being done.

    Nothing is redirected: who sends us elsewhere is not the service, but a portal in its place.
    """
    said = f"{what}: answered {response.status_code}"
    if response.status_code >= 300:
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            # Zaqar's reason; others may repeat what they were asked.
            if not secret:
                said = brief(Exception(f"{said}: {response.json()['description']}"))
        raise _by_status(response.status_code, said)
    if response.content and "html" in response.headers.get("Content-Type", ""):
        raise AmbiguousError(f"{said}, but with a page for people")


def _by_status(status: int, message: str) -> TemporaryError | PermanentError:
    if status >= 500:
        return AmbiguousError(message)
    if status in (408, 425, 429):
        return TemporaryError(message)
    kinds = {400: UnacceptableError, 401: UnauthorizedError}
    return kinds.get(status, RejectedError)(message)


def _never_left(error: BaseException) -> bool:
    """Whether the connection failed before the request was sent."""
    kinds = urllib3.exceptions.NewConnectionError | requests.ConnectTimeout
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came of, which the libraries tell in three ways."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        reason = getattr(cause.args[0], "reason", None) if cause.args else None
        yield from (item for item in (*cause.args, reason) if isinstance(item, BaseException))
        cause = cause.__cause__ or cause.__context__


def _root_kind(error: BaseException) -> str:
    return type(list(_causes(error))[-1]).__name__


def brief(error: BaseException) -> str:
    """Return what an error says on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
