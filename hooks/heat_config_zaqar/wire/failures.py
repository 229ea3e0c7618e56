"""What a failure on the wire means, decided here and nowhere else.

Invariant: whatever Keystone, Zaqar, Heat or the way to them does leaves the room as TemporaryError,
AmbiguousError, PermanentError or one of their kinds; no message of theirs holds a secret.
"""

import contextlib
from collections.abc import Iterator

import requests
import urllib3.exceptions
from keystoneauth1 import exceptions as keystone_errors

from heat_config_zaqar.errors import (
    AmbiguousError,
    PermanentError,
    RejectedError,
    TemporaryError,
    UnauthorizedError,
)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the libraries raise into the package's own errors."""
    try:
        yield
    except (
        keystone_errors.ClientException,
        requests.RequestException,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise _own_error(error, f"{what}: {brief(error)}") from error


def _own_error(error: Exception, message: str) -> TemporaryError | PermanentError:
    if isinstance(error, keystone_errors.SSLError | requests.exceptions.SSLError):
        return TemporaryError(f"{message}; is the CA of the cloud in ca_file?")
    if isinstance(error, keystone_errors.HttpError):
        return _by_status(error.http_status, f"{message} (from Keystone)")
    if isinstance(error, keystone_errors.CatalogException):
        return RejectedError(f"{message} (not in the catalog)")
    # A connection that broke, or an answer that makes no sense: by then the request had left.
    return TemporaryError(message) if _never_left(error) else AmbiguousError(message)


def check(response: requests.Response, what: str) -> None:
    """Raise what an answer of 400 or more means; `what` says what was being done."""
    if response.status_code >= 400:
        said = f"{what}: answered {response.status_code}"
        with contextlib.suppress(ValueError, LookupError, TypeError):
            # Zaqar's reason.
            said += f": {response.json()['description']}"
        raise _by_status(response.status_code, " ".join(said.split())[:300])


def _by_status(status: int, message: str) -> TemporaryError | PermanentError:
    if status >= 500:
        return AmbiguousError(message)
    if status == 401:
        return UnauthorizedError(message)
    return TemporaryError(message) if status in (408, 425, 429) else RejectedError(message)


def _never_left(error: BaseException) -> bool:
    """Whether the connection failed before the request was sent."""
    cause: BaseException | None = error
    while cause is not None:
        inner = [cause, *cause.args, getattr(cause.args[0], "reason", None) if cause.args else None]
        for item in inner:
            if isinstance(item, urllib3.exceptions.NewConnectionError | requests.ConnectTimeout):
                return True
        cause = cause.__cause__ or cause.__context__
    return False


def brief(error: BaseException) -> str:
    """Return what an error says on one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
