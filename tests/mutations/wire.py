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
        "self._stopped.wait(_CATALOG_SECONDS)",
        "self._stopped.wait()",
        "a_catalog_without_a_websocket_is_looked_at_again",
    ),
    Mutation(
        "nothing finds what Zaqar did not announce",
        "wire/push.py",
        "                if waiting:\n",
        "                if False:\n",
        "what_a_look_finds_and_nothing_announced_renews_the_subscription",
    ),
    Mutation(
        "a server that is gone is waited for",
        "wire/push.py",
        "                if looking:\n",
        "                if False:\n",
        "a_server_that_does_not_answer_a_look_is_gone",
    ),
    Mutation(
        "a WebSocket is never renewed",
        "wire/push.py",
        "while not self._stopped.is_set() and time.monotonic() < until:",
        "while not self._stopped.is_set():",
        "a_subscription_is_renewed_before_it_lapses",
    ),
    Mutation(
        "a token that has expired is kept",
        "wire/push.py",
        "if code == _EXPIRED:",
        "if False:",
        "a_token_that_the_server_says_has_expired_is_forgotten",
    ),
    Mutation(
        "a catalog without a WebSocket is trouble",
        "wire/session.py",
        "contextlib.suppress(keystone_errors.CatalogException)",
        "contextlib.nullcontext()",
        "a_catalog_without_a_websocket_is_no_trouble",
        "unit/wire/test_push.py",
    ),
    Mutation(
        "a frame that is nested deep ends the listener",
        "wire/push.py",
        "        except RecursionError:\n",
        "        except AssertionError:\n",
        "a_frame_that_nobody_can_parse_ends_the_connection_and_not_the_listener",
    ),
]
