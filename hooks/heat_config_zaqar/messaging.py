"""The only code that talks HTTP: to Keystone, Zaqar and Heat, and to pre-signed URLs.

`push` is its neighbour for the WebSocket.
Invariant: each request has a timeout and verifies certificates unless the settings say otherwise;
whatever goes wrong leaves here as TemporaryError, AmbiguousError, PermanentError or
UnauthorizedError, decided in `_translated` and nowhere else; no message of theirs holds a secret.
A token is used until it expires, across processes, by a file that root alone reads.
"""

import contextlib
import email.utils
import hashlib
import http.client
import itertools
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3
from zaqarclient.queues.v2 import client as zaqar_client
from zaqarclient.transport import errors as zaqar_errors
from zaqarclient.transport import http as zaqar_http

from heat_config_zaqar import durable
from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import (
    AmbiguousError,
    CorruptFileError,
    PermanentError,
    RejectedError,
    TemporaryError,
    UnauthorizedError,
)
from heat_config_zaqar.settings import Settings

# Zaqar lists and deletes at most this many messages in one request.
_PAGE = 20
# More waiting messages than this are read by the next collection; bounds memory and time.
_MOST_PAGES = 25
_TOKEN_MARGIN_SECONDS = 60


def tls_verification(settings: Settings, login: Credentials | None = None) -> bool | str:
    """Return what `requests` is to verify certificates with.

    The CA file that the metadata names goes before that of the settings: it is the newer one.

    The system's store comes before the one that `requests` brings along: a private CA that an
    operator installed in the guest is found there.

    :raises TemporaryError: the CA file is not there (yet).
    """
    if settings.insecure:
        return False
    system = ssl.get_default_verify_paths()
    named = (login.ca_file if login else "") or settings.ca_file
    if named and not Path(named).exists():
        raise TemporaryError(f"the certificates cannot be verified: there is no ca_file {named}")
    return named or system.cafile or system.capath or True


class Connection:
    """One stack user's way to Keystone, and from its catalog to Zaqar and Heat.

    :param credentials: the user's login.
    :param settings: timeouts, certificates, and where tokens are kept.
    """

    def __init__(self, credentials: Credentials, settings: Settings) -> None:
        self.credentials = credentials
        self._auth = v3.Password(
            credentials.auth_url,
            user_id=credentials.user_id,
            password=credentials.password,
            project_id=credentials.project_id,
        )
        self._session = keystone_session.Session(
            auth=self._auth,
            session=requests.Session(),
            verify=tls_verification(settings, credentials),
            timeout=settings.request_timeout,
            user_agent="heat-config-zaqar",
        )
        self._token_file = settings.token_dir / f"{self._token_name()}.json"
        self._load_token()

    def queue(self, name: str) -> "Queue":
        """Return the queue `name` of the user's project; no request is made."""
        return Queue(self, name)

    def deployments(self, server_id: str) -> list[Any]:
        """Ask Heat for the deployments of a server, as they are now.

        `GET /software_deployments/metadata/{server_id}` is open to every stack user of the stack.

        :raises TemporaryError: Heat or Keystone is away.
        :raises PermanentError: Heat refuses, or there is no such server.
        """
        path = f"/software_deployments/metadata/{server_id}"
        response = self.request("GET", path, service="orchestration", what="asking Heat")
        with _translated(f"reading Heat's answer for server {server_id}"):
            answer = response.json()
        deployments = answer.get("metadata") if isinstance(answer, dict) else None
        if not isinstance(deployments, list):
            raise PermanentError(f"Heat's answer for server {server_id} has no list of deployments")
        return deployments

    def signal_resource(self, stack_id: str, resource_name: str, body: dict[str, Any]) -> None:
        """Signal a deployment through Heat's own API, which ignores one not in progress.

        :param stack_id: `name/uuid`, as in the input `deploy_stack_id`.
        :raises TemporaryError: Heat or Keystone is away.
        :raises PermanentError: Heat refuses, or the stack or resource is gone.
        """
        path = f"/stacks/{stack_id}/resources/{resource_name}/signal"
        what = f"signalling {resource_name} of stack {stack_id} through Heat"
        self.request("POST", path, service="orchestration", what=what, json=body)

    def request(self, method: str, path: str, *, service: str, what: str, **more: Any) -> Any:
        """Send one request to a service of the catalog and return the answer.

        :param what: what is being done, for the message of an error.
        :raises TemporaryError, PermanentError: as the module says.
        """
        endpoint = {"service_type": service, "interface": "public"}
        if self.credentials.region_name:
            endpoint["region_name"] = self.credentials.region_name
        with _translated(what):
            response = self._session.request(
                path, method, endpoint_filter=endpoint, raise_exc=False, log=False, **more
            )
            self._save_token()
            _check(response, what)
            return response

    def endpoint(self, service: str) -> str:
        """Return the public address of a service in the catalog; empty where it has none.

        :raises TemporaryError, PermanentError: as the module says.
        """
        region = self.credentials.region_name or None
        with _translated(f"looking for {service} in the catalog"):
            address = self._session.get_endpoint(
                service_type=service, interface="public", region_name=region
            )
            self._save_token()
            return address or ""

    def token(self) -> str:
        """Return a Keystone token that is valid for a while.

        :raises TemporaryError, PermanentError: as the module says.
        """
        with _translated("logging in"):
            token: str = self._session.get_token() or ""
            self._save_token()
            return token

    def forget_token(self) -> None:
        """Log in anew before the next request: a service says that the token has expired."""
        self._auth.invalidate()

    def raw_request(self, method: str, url: str, **more: Any) -> requests.Response:
        """Send a request with the user's token; what zaqarclient calls to reach the network."""
        response: requests.Response = self._session.request(
            url, method, raise_exc=False, log=False, authenticated=True, **more
        )
        self._save_token()
        return response

    def _token_name(self) -> str:
        login = self.credentials
        text = "\0".join((login.auth_url, login.user_id, login.project_id, login.password))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _load_token(self) -> None:
        self._saved: str | None = None
        with contextlib.suppress(CorruptFileError, ValueError, KeyError, OSError):
            state = durable.read_json(self._token_file)
            if isinstance(state, str):
                self._auth.set_auth_state(state)
                access = self._auth.auth_ref
                if access is not None and access.will_expire_soon(_TOKEN_MARGIN_SECONDS):
                    self._auth.invalidate()
                self._saved = state

    def _save_token(self) -> None:
        state = self._auth.get_auth_state()
        if state and state != self._saved:
            self._saved = state
            # Without the file the next process logs in again, which is no reason to fail.
            with contextlib.suppress(OSError):
                durable.write_json(self._token_file, state)


class Queue:
    """One Zaqar queue, by python-zaqarclient."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._queue: Any = None

    def messages(self) -> list[tuple[str, Any]]:
        """Return (id, body) of all waiting messages, oldest first; none is consumed.

        A queue that does not exist answers like an empty one.

        :raises TemporaryError, PermanentError: as the module says.
        """
        with _translated(f"reading queue {self.name}"):
            listing = self._zaqar().messages(echo=True, limit=_PAGE)
            found = list(listing)
            if len(found) == _PAGE:
                # zaqarclient goes on to the next page only when asked to stream, and then always.
                found += itertools.islice(listing.stream(), _PAGE * (_MOST_PAGES - 1))
            return [(message.id, message.body) for message in found]

    def delete(self, ids: list[str]) -> None:
        """Delete messages; those that are gone already are fine.

        :raises TemporaryError, PermanentError: as the module says.
        """
        with _translated(f"deleting messages of queue {self.name}"):
            for start in range(0, len(ids), _PAGE):
                self._zaqar().delete_messages(*ids[start : start + _PAGE])

    def post(self, body: dict[str, Any], ttl: int) -> None:
        """Post one message.

        :param ttl: seconds until Zaqar forgets it.
        :raises AmbiguousError: it may have been stored.
        :raises TemporaryError, PermanentError: it was not stored.
        """
        with _translated(f"posting to queue {self.name}"):
            self._zaqar().post({"body": body, "ttl": ttl})

    def largest_post(self) -> int:
        """Return how many bytes one request to post may have, the queue's own limit.

        :raises TemporaryError, PermanentError: as the module says.
        """
        with _translated(f"reading the limits of queue {self.name}"):
            metadata = self._zaqar().metadata(force_reload=True)
            return int(metadata["_max_messages_post_size"])

    def _zaqar(self) -> Any:
        if self._queue is None:
            client = _Client(self._connection)
            self._queue = client.queue(self.name, auto_create=False)
        return self._queue


class _Client(zaqar_client.Client):  # type: ignore[misc]  # python-zaqarclient is not typed
    """zaqarclient on our session: its own has no timeout and connects for each request anew."""

    def __init__(self, connection: Connection) -> None:
        address = connection.endpoint("messaging")
        if not address:
            raise PermanentError("the catalog has no messaging service: is Zaqar there?")
        project = {"os_project_id": connection.credentials.project_id}
        super().__init__(address, 2, conf={"auth_opts": {"backend": "noauth", "options": project}})
        self._transport = zaqar_http.HttpTransport({})
        self._transport.client = _Session(connection)

    def _get_transport(self, request: Any) -> Any:  # noqa: ARG002 # zaqarclient calls it so
        return self._transport


class _Session:
    """What zaqarclient's HTTP transport uses of its own session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        """Send one request; certificates are the connection's business, not zaqarclient's."""
        del more["verify"]
        response = self._connection.raw_request(method, url, **more)
        what = f"{method} {url.partition('?')[0]}"
        # The rest of 4xx and 5xx zaqarclient takes for success.
        known = zaqar_http.HttpTransport.http_to_zaqar
        if response.status_code >= 400 and response.status_code not in known:
            _check(response, what)
        # And for an empty answer what some portal says in Zaqar's place.
        if response.ok and response.content and not _is_map(response):
            raise AmbiguousError(f"{what}: answered {response.status_code}, but not as Zaqar does")
        return response


def _is_map(response: requests.Response) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(response.json(), dict)
    return False


def send_presigned(method: str, url: str, body: str, settings: Settings) -> None:
    """Send a signal to a URL that carries its own permission: CFN_SIGNAL, TEMP_URL_SIGNAL.

    :param method: POST for CFN_SIGNAL, PUT for TEMP_URL_SIGNAL.
    :raises TemporaryError, PermanentError: as the module says; the URL stays out of the message.
    """
    what = f"signalling by {method} to {urlsplit(url).hostname}"
    with _translated(what):
        response = requests.request(
            method,
            url,
            data=body,
            headers={"content-type": "application/json"},
            verify=tls_verification(settings),
            timeout=settings.request_timeout,
        )
        _check(response, what)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn what the libraries raise into the package's own errors."""
    try:
        yield
    except (
        keystone_errors.ClientException,
        requests.RequestException,
        zaqar_errors.TransportError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise _own_error(error, f"{what}: {_brief(error)}") from error


def _own_error(error: Exception, message: str) -> TemporaryError | PermanentError:
    if isinstance(error, keystone_errors.SSLError | requests.exceptions.SSLError):
        return TemporaryError(f"{message}; is the CA of the cloud in ca_file?")
    if isinstance(error, keystone_errors.HttpError):
        return _by_status(error.http_status, f"{message} (from Keystone)")
    if isinstance(error, zaqar_errors.TransportError):
        return _by_status(error.code or 500, message)
    if isinstance(error, keystone_errors.CatalogException):
        return RejectedError(f"{message} (not in the catalog)")
    # A connection that broke, or an answer that makes no sense: by then the request had left.
    return TemporaryError(message) if _never_left(error) else AmbiguousError(message)


def _check(response: requests.Response, what: str) -> None:
    if response.status_code >= 400:
        raise _by_status(response.status_code, f"{what}: answered {response.status_code}")


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


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


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
        return tried._replace(name=_brief(error))
    try:
        with socket.create_connection((host, port), settings.request_timeout):
            pass
    except OSError as error:
        return tried._replace(connection=_brief(error))
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
        return _brief(error)


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
