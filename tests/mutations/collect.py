"""What the invariants of the room `collect` rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "messages are deleted before they are stored",
        "collect/receiver.py",
        "                self._store.save(snapshot, 0 if doubt else now)\n",
        "                queue.delete([message_id for message_id, _ in messages])\n"
        "                self._store.save(snapshot, 0 if doubt else now)\n",
        "messages_are_deleted_only_after_they_are_stored",
    ),
    Mutation(
        "two processes receive at once",
        "collect/receiver.py",
        'with durable.locked(self._settings.state_dir / "receive.lock"):',
        "with contextlib.nullcontext():",
        "two_processes_that_receive_at_once_lose_no_message",
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
        "collect/receiver.py",
        "                if missing or doubt:\n",
        "                if doubt:\n",
        "heats_answer_decides_a_batch_in_doubt",
    ),
    Mutation(
        "a guest that was off for hours trusts what it knew",
        "collect/receiver.py",
        "not 0 <= now - known_until < _MESSAGE_LIFE_SECONDS",
        "not 0 <= now - known_until",
        "a_guest_that_was_off_for_longer_than_a_message_lives_asks_heat_once",
    ),
    Mutation(
        "a clock that went backwards says nothing",
        "collect/receiver.py",
        "not 0 <= now - known_until < _MESSAGE_LIFE_SECONDS",
        "not now - known_until < _MESSAGE_LIFE_SECONDS",
        "a_clock_that_went_back_says_nothing_of_how_long_a_guest_was_off",
    ),
    Mutation(
        "a suspended guest trusts what it knew",
        "collect/receiver.py",
        "doubt = self._is_in_doubt(stored, now)",
        "doubt = not self._settings.collected_file.exists() and self._is_in_doubt(stored, now)",
        "a_guest_that_was_suspended_for_hours_asks_heat",
        "unit/collect/test_collector.py",
    ),
    Mutation(
        "the queue is read once after a wake-up",
        "collect/schedule.py",
        "if lasted < _LATE_SECONDS",
        "if False",
        "after_a_wake_up_the_queue_is_read_again_for_some_seconds",
    ),
    Mutation(
        "the metadata goes while the cloud is away",
        "collect/collector.py",
        "            state, detail = State.AWAY, str(error)\n",
        "            raise exc.ZaqarMetadataNotAvailable() from error\n",
        "what_was_collected_is_collected_again_while_the_cloud_is_away",
    ),
    Mutation(
        "the old listener is kept after the login changed",
        "collect/collector.py",
        "if self._connection is None or self._connection.credentials != credentials:",
        "if self._connection is None:",
        "another_login_has_a_listener_of_its_own",
    ),
    Mutation(
        "the listener of another login goes on",
        "collect/collector.py",
        "                self._listener.stop()\n",
        "                pass\n",
        "another_login_has_a_listener_of_its_own",
    ),
]
