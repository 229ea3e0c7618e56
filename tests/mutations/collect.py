"""What the invariants of the room `collect` rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "messages are deleted before they are stored",
        "collect/collector.py",
        "                self._store.save(snapshot, 0 if self._doubt else now)\n",
        "                queue.delete([message_id for message_id, _ in messages])\n"
        "                self._store.save(snapshot, 0 if self._doubt else now)\n",
        "messages_are_deleted_only_after_they_are_stored",
    ),
    Mutation(
        "the newest message wins, whatever it lacks",
        "collect/batch.py",
        "kept + [item.document for item in missing]",
        "kept",
        "an_unfinished_deployment_that_the_last_message_lacks_is_kept_in_doubt",
    ),
    Mutation(
        "two configs of one deployment both run",
        "collect/batch.py",
        "for item in deployments_of(newest) if succession.successor(item) is None",
        "for item in deployments_of(newest)",
        "of_one_resource_only_the_newest_config_stays_in_either_order",
    ),
    Mutation(
        "metadata without a login makes the guest deaf",
        "collect/batch.py",
        "    _keep_section(newest, batch)\n",
        "",
        "a_snapshot_without_a_usable_section_keeps_the_last_one",
    ),
    Mutation(
        "Heat is not asked in doubt",
        "collect/collector.py",
        "                if missing or self._doubt:\n",
        "                if self._doubt:\n",
        "heats_answer_decides_a_batch_in_doubt",
    ),
    Mutation(
        "a guest that was off for hours trusts what it knew",
        "collect/collector.py",
        "self._doubt or not 0 <= now - self._last_read < _MESSAGE_LIFE_SECONDS",
        "self._doubt",
        "a_guest_that_was_off_for_longer_than_a_message_lives_asks_heat_once",
    ),
    Mutation(
        "the queue is read once after a wake-up",
        "collect/collector.py",
        "if look_again:",
        "if False:",
        "after_a_wake_up_the_queue_is_read_again_for_half_a_minute",
    ),
    Mutation(
        "a WebSocket that announces nothing is trusted",
        "collect/collector.py",
        "if changed and not woken_lately:",
        "if False:",
        "a_message_that_nothing_announced_ends_the_trust_in_the_websocket",
    ),
    Mutation(
        "an outage of Zaqar ends the trust in its WebSocket",
        "collect/collector.py",
        'if self._woken.is_set() or self._state[0] in ("away", "refused"):',
        "if self._woken.is_set():",
        "a_message_that_was_announced_in_an_outage_costs_no_trust",
    ),
    Mutation(
        "a suspended guest trusts what it knew",
        "collect/collector.py",
        "            self._poll(*login)\n        try:",
        "            self._poll(*login)\n        self._last_read = time.time()\n        try:",
        "a_guest_that_was_suspended_for_hours_asks_heat",
    ),
    Mutation(
        "the metadata goes while the cloud is away",
        "collect/collector.py",
        "(self._refused if refused else self._away).next()\n            return\n",
        "1\n            raise exc.ZaqarMetadataNotAvailable() from error\n",
        "what_was_collected_is_collected_again_while_the_cloud_is_away",
    ),
]
