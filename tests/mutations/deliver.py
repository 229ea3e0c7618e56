"""What the invariants of the room `deliver` rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "an old signal goes out for a newer config",
        "deliver/delivery.py",
        "if taker is not None:",
        "if False:",
        "only_a_newer_config_for_the_same_resource_supersedes",
    ),
    Mutation(
        "a signal goes out though Heat has given up on its deployment",
        "deliver/delivery.py",
        "wanted = self._drop_superseded(entries, deployments)",
        "wanted = entries",
        "a_signal_is_dropped_where_newer_metadata_waits_that_nobody_has_read",
    ),
    Mutation(
        "a signal is posted again without looking for the first one",
        "deliver/transports.py",
        "if entry.sending and self._has_arrived(entry, queue, user):",
        "if False:",
        "a_post_without_an_answer_is_looked_for_before_anything_is_sent",
        "unit/deliver/test_delivery.py",
    ),
    Mutation(
        "a signal that may have arrived is posted again, past Heat's own API",
        "deliver/transports.py",
        "            _signal_through_heat(entry, user)\n        except",
        "            return False\n        except",
        "a_post_that_is_not_in_the_queue_goes_through_heat_and_is_never_posted_again",
        "unit/deliver/test_delivery.py",
    ),
    Mutation(
        "a deployment of another transport counts as signalled",
        "deliver/transports.py",
        "elif entry.transport in (Transport.CFN, Transport.TEMP_URL):",
        "elif entry.transport is Transport.TEMP_URL:",
        "a_deployment_without_a_signal_url_is_given_up",
        "unit/deliver/test_delivery.py",
    ),
    Mutation(
        "a post leaves without a mark",
        "deliver/transports.py",
        "        self._outbox.mark_sending(entry, True)\n",
        "",
        "an_entry_is_marked_on_disk_before_the_post",
        "unit/deliver/test_delivery.py",
    ),
    Mutation(
        "a short trouble of Keystone costs the signal",
        "deliver/delivery.py",
        "return time.time() - entry.finished < _REFUSED_SECONDS",
        "return False",
        "a_login_that_is_refused_for_a_while_costs_no_signal",
    ),
    Mutation(
        "a signal by hand replaces a result",
        "deliver/notify.py",
        "if outbox.is_finished(deployment.id):",
        "if False:",
        "a_deployment_that_has_a_result_keeps_it",
    ),
]
