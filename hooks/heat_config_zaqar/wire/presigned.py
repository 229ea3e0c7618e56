"""Signals to URLs that carry their own permission: CFN_SIGNAL and TEMP_URL_SIGNAL.

Invariant: the URL is a secret and is in no message.
"""

from urllib.parse import urlsplit

import requests

from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.failures import check, translated
from heat_config_zaqar.wire.session import tls_verification


def send_presigned(method: str, url: str, body: str, settings: Settings) -> None:
    """Send a signal; no error's message holds the URL.

    :param method: POST for CFN_SIGNAL, PUT for TEMP_URL_SIGNAL.
    """
    what = f"signalling by {method} to {urlsplit(url).hostname}"
    with translated(what):
        response = requests.request(
            method,
            url,
            data=body,
            headers={"content-type": "application/json"},
            verify=tls_verification(settings),
            timeout=settings.request_timeout,
        )
        check(response, what)
