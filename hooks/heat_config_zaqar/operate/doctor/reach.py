"""The way to a service, tried step by step, for a diagnosis.

Invariant: nobody logs in and nothing secret is sent.
"""

import email.utils
import http.client
import socket
import ssl
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.failures import brief
from heat_config_zaqar.wire.session import tls_verification


class Reach(NamedTuple):
    """What came of each step towards a service; a step's text is empty where it went well.

    :ivar address: the host, and its port where the URL has one.
    :ivar name: why the name could not be resolved.
    :ivar connection: why nothing answered there.
    :ivar certificate: why the certificate was refused.
    :ivar clock_ahead: seconds that this machine's clock is ahead of the service's; None where the
        service did not say its time.
    """

    address: str
    name: str = ""
    connection: str = ""
    certificate: str = ""
    clock_ahead: float | None = None


def reach(url: str, settings: Settings, login: Credentials | None = None) -> Reach:
    """Try the way to a service step by step, without logging in, for a diagnosis.

    The time is asked for even where the certificate is refused, since a wrong clock is one reason
    for that; nothing secret is sent.

    :param login: whose CA file to verify with, as a connection of this login does.
    """
    tried = Reach(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        tried = Reach(parts.netloc)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        return tried._replace(name=brief(error))
    try:
        with socket.create_connection((host, port), settings.request_timeout):
            pass
    except OSError as error:
        return tried._replace(connection=brief(error))
    if parts.scheme == "https":
        tried = tried._replace(certificate=_refused_certificate(host, port, settings, login))
    return tried._replace(clock_ahead=_clock_ahead(url, settings))


def _refused_certificate(
    host: str, port: int, settings: Settings, login: Credentials | None
) -> str:
    try:
        verify = tls_verification(settings, login)
        if verify is False:
            return ""
        trusted = str(verify) if isinstance(verify, str) else None
        is_directory = trusted is not None and Path(trusted).is_dir()
        context = ssl.create_default_context(
            cafile=None if is_directory else trusted, capath=trusted if is_directory else None
        )
        with (
            socket.create_connection((host, port), settings.request_timeout) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return ""
    except (OSError, TemporaryError) as error:
        return brief(error)


def _clock_ahead(url: str, settings: Settings) -> float | None:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            parts.netloc, timeout=settings.request_timeout, context=unverified
        )
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=settings.request_timeout)
    try:
        connection.request("GET", parts.path or "/")
        said = connection.getresponse().headers.get("Date")
        return time.time() - email.utils.parsedate_to_datetime(said).timestamp() if said else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
