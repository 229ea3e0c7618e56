"""One stack user's way to Keystone and to the services of its catalog, over one HTTP session.

Invariant: each request has a timeout and verifies certificates unless the settings say otherwise.
A token is used until it expires, across processes, by a file that root alone reads.
"""

import contextlib
import hashlib
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3
from requests.utils import should_bypass_proxies

from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import HeatConfigError, TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.wire.failures import check, check_address, translated


def tls_verification(settings: Settings, login: Credentials | None = None) -> bool | str:
    """Return what `requests` is to verify certificates with.

    The CA file that the metadata names goes before that of the settings: it is the newer one. The
    system's store, with what an operator installed, goes before the one that `requests` brings.

    :raises TemporaryError: the CA file is not there (yet).
    """
    if settings.insecure:
        return False
    system = ssl.get_default_verify_paths()
    named = (login.ca_file if login else "") or settings.ca_file
    if named and not Path(named).exists():
        raise TemporaryError(f"the certificates cannot be verified: there is no ca_file {named}")
    return named or system.cafile or system.capath or True


def proxy_for(address: str, settings: Settings) -> str:
    """Return the URL of the proxy that requests to an address go through; empty for none.

    The settings alone say so: what is in the environment of one program is not in the others'. A
    machine's own metadata service, whose address is link-local, is behind no proxy.
    """
    with contextlib.suppress(ValueError):
        if ip_address(urlsplit(address).hostname or "").is_link_local:
            return ""
    if not settings.proxy or should_bypass_proxies(address, settings.no_proxy):
        return ""
    return settings.proxy


class HttpSession(requests.Session):
    """Takes proxies from the settings, and nothing from the environment."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.trust_env = False
        self._settings = settings

    def request(self, method: Any, url: Any, *more: Any, **named: Any) -> requests.Response:
        proxy = proxy_for(url, self._settings)
        named["proxies"] = {"http": proxy, "https": proxy}
        return super().request(method, url, *more, **named)


class Connection:
    """One stack user's way to Keystone, and from its catalog to Zaqar and Heat."""

    def __init__(self, credentials: Credentials, settings: Settings) -> None:
        check_address(credentials.auth_url, "logging in")
        self.credentials = credentials
        self._auth = v3.Password(
            credentials.auth_url,
            user_id=credentials.user_id,
            password=credentials.password,
            project_id=credentials.project_id,
        )
        self._session = keystone_session.Session(
            auth=self._auth,
            session=HttpSession(settings),
            verify=tls_verification(settings, credentials),
            timeout=settings.request_timeout,
            redirect=False,
            user_agent="heat-config-zaqar",
        )
        self._token_file = settings.token_dir / f"{self._token_name()}.json"
        self._load_token()

    def request(self, method: str, path: str, *, service: str, what: str, **more: Any) -> Any:
        """Send one request to a service of the catalog and return the answer.

        :param what: what is being done, for the message of an error.
        """
        endpoint = {"service_type": service, "interface": "public"}
        if self.credentials.region_name:
            endpoint["region_name"] = self.credentials.region_name
        with translated(what):
            response = self._session.request(
                path, method, endpoint_filter=endpoint, raise_exc=False, log=False, **more
            )
            self._save_token()
            check(response, what)
            return response

    def endpoint(self, service: str) -> str:
        """Return the public address of a service in the catalog; empty where it has none."""
        region = self.credentials.region_name or None
        with translated(f"looking for {service} in the catalog"):
            address = None
            with contextlib.suppress(keystone_errors.CatalogException):
                address = self._session.get_endpoint(
                    service_type=service, interface="public", region_name=region
                )
            self._save_token()
            return address or ""

    def token(self) -> str:
        """Return a Keystone token that is valid for a while."""
        with translated("logging in"):
            token: str = self._session.get_token() or ""
            self._save_token()
            return token

    def forget_token(self) -> None:
        """Log in anew before the next request: a service says that the token has expired."""
        self._auth.invalidate()

    def _token_name(self) -> str:
        login = self.credentials
        text = "\0".join((login.auth_url, login.user_id, login.project_id, login.password))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _load_token(self) -> None:
        self._saved: str | None = None
        try:
            with translated("reading a token"):
                state = durable.read_json(self._token_file)
                self._auth.set_auth_state(state)
                access = self._auth.auth_ref
                # Nonsense raises here, not at each use. That it has expired keystoneauth sees.
                if access and access.expires and access.service_catalog.normalize_catalog():
                    self._saved = state
        except HeatConfigError:
            self._auth.invalidate()

    def _save_token(self) -> None:
        state = self._auth.get_auth_state()
        if state and state != self._saved:
            self._saved = state
            # Without the file the next process logs in again, which is no reason to fail.
            with contextlib.suppress(OSError):
                durable.write_json(self._token_file, state)
