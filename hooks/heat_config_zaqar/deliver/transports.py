"""How one signal goes out, by the transport that its deployment asked for.

Invariant: a message is never posted a second time while the first may still be in the queue or may
have been read by Heat.
"""

import json
import logging
from collections.abc import Callable

from heat_config_zaqar.deployment import Credentials, Transport
from heat_config_zaqar.errors import (
    AmbiguousError,
    HeatConfigError,
    PermanentError,
    RejectedError,
    TemporaryError,
    UnacceptableError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import CONFIG_ID, DEFAULT_LIMIT_BYTES, Body, fit
from heat_config_zaqar.state import doubts
from heat_config_zaqar.state.outbox import Entry, Outbox
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.presigned import send_presigned
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# Heat reads the queue each second; a message that nobody read in a day belongs to nobody.
_MESSAGE_TTL_SECONDS = 24 * 3600
# How long Heat's own API is tried for what the machine may have signalled before its disk was put
# back. A cloud need not let its guests reach Heat, and a stack must not wait for ever.
_DOUBTFUL_SECONDS = 600
# Below this size no queue's limit matters, and asking for it would cost a request.
_SURELY_FITS_BYTES = 16 * 1024
_ENVELOPE_BYTES = 256
# Heat's CFN API has the limit of its other one. Swift takes gigabytes, but Heat writes what it
# finds there into its database, whose packets are often 16 MiB at most.
_LIMITS_BYTES = {Transport.CFN: DEFAULT_LIMIT_BYTES, Transport.TEMP_URL: 8 * 1024 * 1024}

_LOG = logging.getLogger(__name__)


class Sender:
    """Sends entries of the outbox, one at a time.

    :param server: the server's own login, where there is one.
    :param connect: gives the connection of a login.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: Settings,
        server: Credentials | None,
        connect: Callable[[Credentials], Connection],
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._server = server
        self._connect = connect

    def send(self, entry: Entry) -> None:
        """Send one signal; Heat's side has it when this returns.

        :raises TemporaryError, PermanentError: as of the room `wire`.
        :raises OSError: the state directory cannot be written.
        """
        if entry.transport is Transport.ZAQAR:
            self._as_someone(entry)
        elif entry.transport in (Transport.CFN, Transport.TEMP_URL):
            self._send_presigned(entry)
        elif entry.transport is Transport.HEAT:
            _signal_through_heat(entry, self._connect(_own_login(entry)))
        elif entry.note:
            raise PermanentError(entry.note)

    def _as_someone(self, entry: Entry) -> None:
        """Post as the server's user, whose token is at hand; where that is refused, as its own.

        Every stack user may post to every queue of the stack's project.
        """
        own, server = _own_login(entry), self._server
        if server and (server.project_id, server.auth_url) == (own.project_id, own.auth_url):
            try:
                self._send_to_queue(entry, self._connect(server))
                return
            except PermanentError as error:
                _LOG.info("deployment %s: %s; trying its own user", entry.id, error)
        self._send_to_queue(entry, self._connect(own))

    def _send_to_queue(self, entry: Entry, user: Connection) -> None:
        queue = Queue(user, entry.queue)
        doubted = doubts.age_of(self._settings, entry.id)
        is_unsure = entry.sending or doubted is not None
        if is_unsure and self._has_arrived(entry, queue, user, doubted or 0):
            return
        body = _fitted({**entry.body, CONFIG_ID: entry.id}, queue)
        self._outbox.mark_sending(entry, True)
        try:
            queue.post(body, _MESSAGE_TTL_SECONDS)
        except AmbiguousError:
            raise
        except HeatConfigError as error:
            self._outbox.mark_sending(entry, False)
            if not isinstance(error, UnacceptableError):
                raise
            _LOG.warning("deployment %s: %s; signalling through Heat", entry.id, error)
            _signal_through_heat(entry, user)

    def _has_arrived(self, entry: Entry, queue: Queue, user: Connection, doubted: float) -> bool:
        """Find out what became of a post without an answer; signal through Heat where it is gone.

        A message that is not in the queue never arrived, or Heat has read it. Heat's own API
        ignores a signal for a deployment that is no longer in progress, so it is right for both;
        but what arrives after it would complete the next update.

        :raises TemporaryError: the message may still arrive.
        """
        for _, body in queue.messages():
            if isinstance(body, dict) and body.get(CONFIG_ID) == entry.id:
                return True
        if entry.may_arrive:
            raise TemporaryError("its post had no clear answer and may still arrive; looking again")
        try:
            _signal_through_heat(entry, user)
        except (RejectedError, TemporaryError) as error:
            is_over = not entry.may_change and isinstance(error, RejectedError)
            if not (is_over or (not entry.sending and doubted >= _DOUBTFUL_SECONDS)):
                raise
            _LOG.warning("deployment %s: %s; posting to its queue", entry.id, error)
            return False
        return True

    def _send_presigned(self, entry: Entry) -> None:
        method = "PUT" if entry.transport is Transport.TEMP_URL else "POST"
        if not entry.url:
            raise PermanentError(f"{entry.transport} has no deploy_signal_id to send to")
        body = fit(entry.body, _LIMITS_BYTES[entry.transport])
        send_presigned(method, entry.url, json.dumps(body), self._settings)


def _signal_through_heat(entry: Entry, user: Connection) -> None:
    body = fit(entry.body, DEFAULT_LIMIT_BYTES)
    heat.signal_resource(user, entry.stack_id, entry.resource_name, body)


def _fitted(body: Body, queue: Queue) -> Body:
    if len(json.dumps(body)) <= _SURELY_FITS_BYTES:
        return body
    return fit(body, queue.largest_post() - _ENVELOPE_BYTES)


def _own_login(entry: Entry) -> Credentials:
    if entry.credentials is None:
        raise PermanentError("the deployment carries no login to signal with")
    return entry.credentials
