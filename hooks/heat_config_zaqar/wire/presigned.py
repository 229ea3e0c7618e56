"""Signals to URLs that carry their own permission: CFN_SIGNAL and TEMP_URL_SIGNAL.

Invariant: the URL is a secret and is in no message.
"""

import logging
from urllib.parse import urlsplit

from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.failures import check, check_address, translated
from heat_config_zaqar.wire.session import HttpSession, tls_verification

# It warns of odd headers of an answer, with the whole URL.
logging.getLogger("urllib3").setLevel(logging.ERROR)


def send_presigned(method: str, url: str, body: str, settings: Settings) -> None:
    """Send a signal; no error's message holds the URL.

    :param method: POST for CFN_SIGNAL, PUT for TEMP_URL_SIGNAL.
    """
    check_address(url, f"signalling by {method}")
    what = f"signalling by {method} to {urlsplit(url).hostname}"
    with HttpSession(settings) as session, translated(what, secret=True):
        response = session.request(
            method,
            url,
            data=body,
            headers={"content-type": "application/json"},
            verify=tls_verification(settings),
            timeout=settings.request_timeout,
            allow_redirects=False,
        )
        check(response, what, secret=True)
