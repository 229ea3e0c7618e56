"""Requests to URLs that carry their own permission: of signals, and of sources of metadata.

Invariant: the URL is a secret and is in no message.
"""

import logging
from typing import Any
from urllib.parse import urlsplit

import requests

from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.failures import check, check_address, translated
from heat_config_zaqar.wire.session import HttpSession, tls_verification

# It warns of odd headers of an answer, with the whole URL.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class PresignedSession(HttpSession):
    """Raises the package's own errors, with no URL in them."""

    def request(self, method: Any, url: Any, *more: Any, **named: Any) -> requests.Response:
        """Send a request by the settings, but for a CA file that it names itself.

        :raises TemporaryError, PermanentError: there is no answer, or it is no success.
        """
        check_address(url, f"{method} to a pre-signed URL")
        what = f"{method} to {urlsplit(url).hostname}"
        named |= {"timeout": self._settings.request_timeout, "allow_redirects": False}
        named["verify"] = named.get("verify") or tls_verification(self._settings)
        with translated(what, secret=True):
            response = super().request(method, url, *more, **named)
            # A store may refuse the HEAD of a URL that it made for GET.
            if method != "HEAD":
                check(response, what, secret=True)
        return response


def send_presigned(method: str, url: str, body: str, settings: Settings) -> None:
    """Send a signal; no error's message holds the URL.

    :param method: POST for CFN_SIGNAL, PUT for TEMP_URL_SIGNAL.
    """
    with PresignedSession(settings) as session:
        session.request(method, url, data=body, headers={"content-type": "application/json"})
