"""What the invariants of the room `wire` rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "a request waits for ever",
        "wire/session.py",
        "            timeout=settings.request_timeout,\n            user_agent",
        "            user_agent",
        "a_service_that_never_answers_is_given_up",
    ),
    Mutation(
        "certificates are not verified",
        "wire/session.py",
        "            verify=tls_verification(settings, credentials),\n",
        "            verify=False,\n",
        "a_certificate_that_nobody_signed_is_refused_and_the_hint_helps",
    ),
    Mutation(
        "an answer that never came counts as not sent",
        "wire/failures.py",
        "return TemporaryError(message) if _never_left(error) else AmbiguousError(message)",
        "return TemporaryError(message)",
        "a_request_that_may_have_arrived_is_ambiguous",
        "unit/wire/test_session.py",
    ),
    Mutation(
        "what a portal answers in Zaqar's place counts as Zaqar's answer",
        "wire/queue.py",
        "if not isinstance(answer, dict):",
        "if False:",
        "a_request_that_may_have_arrived_is_ambiguous",
        "unit/wire/test_session.py",
    ),
    Mutation(
        "a catalog without a WebSocket stays so for ever",
        "wire/push.py",
        "self._stopped.wait(_RENEWAL_SECONDS)",
        "self._stopped.wait()",
        "a_catalog_without_a_websocket_is_looked_at_again",
    ),
]
