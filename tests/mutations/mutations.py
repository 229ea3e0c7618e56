"""The list: what each invariant rests on, the product without it, and the test that must notice."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """One fix to take out.

    :ivar name: what the product then does.
    :ivar file: in `hooks/heat_config_zaqar`.
    :ivar fix: a text that is there once.
    :ivar without: what stands there without the fix.
    :ivar test: that must fail.
    """

    name: str
    file: str
    fix: str
    without: str
    test: str


_UNIT = "tests/unit/test_{}.py::test_{}"

MUTATIONS = [
    Mutation(
        "messages are deleted before they are stored",
        "collector.py",
        "                self._store.save(snapshot, 0 if self._doubt else now)\n",
        "                queue.delete([message_id for message_id, _ in messages])\n"
        "                self._store.save(snapshot, 0 if self._doubt else now)\n",
        _UNIT.format("collector", "messages_are_deleted_only_after_they_are_stored"),
    ),
    Mutation(
        "a file's content is not fsynced before it gets its name",
        "durable.py",
        "os.fsync(stream.fileno())",
        "pass",
        _UNIT.format("durable", "a_power_cut_after_writing_loses_nothing"),
    ),
    Mutation(
        "a file's name is not fsynced",
        "durable.py",
        "        raise\n    _sync_directory(path.parent)",
        "        raise",
        _UNIT.format("durable", "a_power_cut_after_writing_loses_nothing"),
    ),
    Mutation(
        "a removal is not fsynced",
        "durable.py",
        "path.unlink()\n        _sync_directory(path.parent)",
        "path.unlink()",
        _UNIT.format("durable", "a_power_cut_after_writing_loses_nothing"),
    ),
    Mutation(
        "a new directory is not fsynced",
        "durable.py",
        "path.mkdir(mode=0o700)\n    _sync_directory(path.parent)",
        "path.mkdir(mode=0o700)",
        _UNIT.format("durable", "a_power_cut_after_writing_loses_nothing"),
    ),
    Mutation(
        "the newest message wins, whatever it lacks",
        "metadata_store.py",
        "kept + [item.document for item in missing]",
        "kept",
        _UNIT.format(
            "metadata_store",
            "an_unfinished_deployment_that_the_last_message_lacks_is_kept_in_doubt",
        ),
    ),
    Mutation(
        "two configs of one signal queue both run",
        "metadata_store.py",
        "return bool(queue) and any(",
        "return False and any(",
        _UNIT.format(
            "metadata_store", "of_one_signal_queue_only_the_newest_config_stays_in_either_order"
        ),
    ),
    Mutation(
        "metadata without a login makes the guest deaf",
        "metadata_store.py",
        "    _keep_section(newest, batch)\n",
        "",
        _UNIT.format("metadata_store", "a_snapshot_without_a_usable_section_keeps_the_last_one"),
    ),
    Mutation(
        "Heat is not asked in doubt",
        "collector.py",
        "                if missing or self._doubt:\n",
        "                if self._doubt:\n",
        _UNIT.format("collector", "heats_answer_decides_a_batch_in_doubt"),
    ),
    Mutation(
        "a guest that was off for hours trusts what it knew",
        "collector.py",
        "self._doubt or not 0 <= now - self._last_read < _MESSAGE_LIFE_SECONDS",
        "self._doubt",
        _UNIT.format(
            "collector", "a_guest_that_was_off_for_longer_than_a_message_lives_asks_heat_once"
        ),
    ),
    Mutation(
        "the queue is read once after a wake-up",
        "collector.py",
        "if look_again:",
        "if False:",
        _UNIT.format("collector", "after_a_wake_up_the_queue_is_read_again_for_half_a_minute"),
    ),
    Mutation(
        "a WebSocket that announces nothing is trusted",
        "collector.py",
        "if changed and not woken_lately:",
        "if False:",
        _UNIT.format(
            "collector", "a_message_that_nothing_announced_ends_the_trust_in_the_websocket"
        ),
    ),
    Mutation(
        "an outage of Zaqar ends the trust in its WebSocket",
        "collector.py",
        'if self._woken.is_set() or self._state[0] in ("away", "refused"):',
        "if self._woken.is_set():",
        _UNIT.format("collector", "a_message_that_was_announced_in_an_outage_costs_no_trust"),
    ),
    Mutation(
        "a suspended guest trusts what it knew",
        "collector.py",
        "            self._poll(*login)\n        try:",
        "            self._poll(*login)\n        self._last_read = time.time()\n        try:",
        _UNIT.format("collector", "a_guest_that_was_suspended_for_hours_asks_heat"),
    ),
    Mutation(
        "the metadata goes while the cloud is away",
        "collector.py",
        "(self._refused if refused else self._away).next()\n            return\n",
        "1\n            raise exc.ZaqarMetadataNotAvailable() from error\n",
        _UNIT.format("collector", "what_was_collected_is_collected_again_while_the_cloud_is_away"),
    ),
    Mutation(
        "a malformed deployment costs the others",
        "metadata_store.py",
        '_LOG.error("ignored: %s", error)',
        "raise",
        _UNIT.format("metadata_store", "a_malformed_deployment_costs_no_other"),
    ),
    Mutation(
        "a finished deployment runs again",
        "apply.py",
        "if not outbox.is_finished(item.id)]",
        "]",
        _UNIT.format("apply", "each_deployment_runs_once_however_often_it_is_applied"),
    ),
    Mutation(
        "a config runs after its successor",
        "apply.py",
        "newest = outbox.newest_results() if unfinished else {}",
        "newest: dict[str, str] = {}",
        _UNIT.format("apply", "a_config_whose_successor_has_a_result_never_runs"),
    ),
    Mutation(
        "a hook that never survives is tried for ever",
        "apply.py",
        "if run.interruptions >= current.max_attempts:",
        "if False:",
        _UNIT.format("apply", "a_hook_that_was_interrupted_too_often_fails_with_the_reason"),
    ),
    Mutation(
        "a result that is not on disk counts as one",
        "apply.py",
        'will try again", error)\n        return 1',
        'will try again", error)\n        return 0',
        _UNIT.format(
            "apply", "a_result_that_cannot_be_made_durable_is_an_error_for_os_collect_config"
        ),
    ),
    Mutation(
        "a hook may take for ever",
        "hook_runner.py",
        "process.wait(limit or None)",
        "process.wait(20)",
        _UNIT.format("hook_runner", "a_hook_that_takes_too_long_is_killed_with_all_it_started"),
    ),
    Mutation(
        "an old signal goes out for a newer config",
        "deliver.py",
        "if taker and taker.creation_time > entry.creation_time:",
        "if False:",
        _UNIT.format("deliver", "only_a_newer_config_for_the_same_resource_supersedes"),
    ),
    Mutation(
        "a signal goes out though Heat has given up on its deployment",
        "deliver.py",
        "self._drop_superseded(entries, self._posted_deployments())",
        "entries",
        _UNIT.format(
            "deliver", "a_signal_is_dropped_where_newer_metadata_waits_that_nobody_has_read"
        ),
    ),
    Mutation(
        "a signal is posted again without looking for the first one",
        "deliver.py",
        "if entry.sending and self._has_arrived(entry, queue, user):",
        "if False:",
        _UNIT.format("deliver", "a_post_without_an_answer_is_looked_for_before_anything_is_sent"),
    ),
    Mutation(
        "a signal that may have arrived is posted again, past Heat's own API",
        "deliver.py",
        "            _signal_through_heat(entry, user)\n        except",
        "            return False\n        except",
        _UNIT.format(
            "deliver", "a_post_that_is_not_in_the_queue_goes_through_heat_and_is_never_posted_again"
        ),
    ),
    Mutation(
        "a signal from before a reboot goes out before metadata was collected",
        "cli.py",
        "    if not current.collected_flag.exists():\n",
        "    if False:\n",
        _UNIT.format("cli", "delivery_waits_for_metadata_that_was_collected_since_the_start"),
    ),
    Mutation(
        "a deployment of another transport counts as signalled",
        "deliver.py",
        "elif entry.transport in (Transport.CFN, Transport.TEMP_URL):",
        "elif entry.transport is Transport.TEMP_URL:",
        _UNIT.format("deliver", "a_deployment_without_a_signal_url_is_given_up"),
    ),
    Mutation(
        "a deployment whose hook is missing is skipped, and Heat waits for it",
        "apply.py",
        "if hook is None and chosen.group in GROUPS_WITHOUT_HOOK:",
        "if hook is None:",
        _UNIT.format("apply", "trouble_with_one_deployment_stops_no_other"),
    ),
    Mutation(
        "a post leaves without a mark",
        "deliver.py",
        "        self._outbox.mark_sending(entry, True)\n",
        "",
        _UNIT.format("deliver", "an_entry_is_marked_on_disk_before_the_post"),
    ),
    Mutation(
        "a short trouble of Keystone costs the signal",
        "deliver.py",
        "return time.time() - entry.finished < _REFUSED_SECONDS",
        "return False",
        _UNIT.format("deliver", "a_login_that_is_refused_for_a_while_costs_no_signal"),
    ),
    Mutation(
        "a crash while settling sends again",
        "outbox.py",
        "if self._path(state, path.stem).exists():",
        "if False:",
        _UNIT.format("outbox", "a_crash_between_settling_and_removing_does_not_send_again"),
    ),
    Mutation(
        "an entry goes before it is sure that its successor stays",
        "outbox.py",
        "                durable.confirm(self._path(state, path.stem))\n",
        "",
        _UNIT.format("outbox", "a_crash_within_settling_and_then_a_power_cut_loses_no_state"),
    ),
    Mutation(
        "a password stays on disk after its signal",
        "outbox.py",
        'entry, credentials=None, url="",',
        'entry, url="",',
        _UNIT.format("outbox", "a_settled_entry_stays_finished_and_keeps_no_password"),
    ),
    Mutation(
        "an entry that cannot be read costs the others",
        "outbox.py",
        "sorted(filter(None, entries), key",
        "sorted(entries, key",
        _UNIT.format("outbox", "an_entry_that_cannot_be_read_is_logged_and_costs_no_other"),
    ),
    Mutation(
        "state directories are for everybody",
        "durable.py",
        "path.mkdir(mode=0o700)",
        "path.mkdir()",
        _UNIT.format("durable", "files_and_directories_are_for_root_alone"),
    ),
    Mutation(
        "the password shows where a deployment is printed",
        "deployment.py",
        "password: str = dataclasses.field(repr=False)",
        "password: str",
        _UNIT.format("deployment", "the_password_is_not_in_the_repr"),
    ),
    Mutation(
        "an id may be a path",
        "deployment.py",
        "_SAFE_ID.fullmatch(config_id)",
        "_SAFE_ID.match(config_id)",
        _UNIT.format("deployment", "rejects_an_id_that_is_no_file_name"),
    ),
    Mutation(
        "Heat gets a body that is no map",
        "signal_data.py",
        '    if not isinstance(body, dict):\n        return "is not a map"\n',
        "    if not isinstance(body, dict):\n        return ''\n",
        _UNIT.format("signal_data", "json_that_is_not_a_map_never_reaches_heat"),
    ),
    Mutation(
        "a hook whose starter was killed goes on beside its second run",
        "apply.py",
        "        _end_orphans(outbox)\n",
        "",
        _UNIT.format(
            "apply", "a_hook_that_outlives_its_killed_starter_is_ended_before_it_runs_again"
        ),
    ),
    Mutation(
        "a process that took a hook's pid is killed",
        "processes.py",
        "if current is not None and current.started != leader.started:",
        "if False:",
        _UNIT.format("processes", "a_process_of_another_boot_or_start_is_left_alone"),
    ),
    Mutation(
        "a hook starts before its process is recorded",
        "hook_runner.py",
        "[*_GATE, hook],",
        "[hook],",
        _UNIT.format("hook_runner", "a_hook_whose_starter_is_killed_before_the_record_never_runs"),
    ),
    Mutation(
        "a reboot that a hook asked for counts as an interruption",
        "outbox.py",
        "return self.attempts - self.reboots",
        "return self.attempts",
        _UNIT.format("outbox", "a_reboot_that_was_asked_for_is_no_interruption"),
    ),
    Mutation(
        "a hook may ask for reboots for ever",
        "apply.py",
        "if run.reboots < _MOST_REBOOTS:",
        "if True:",
        _UNIT.format("apply", "a_hook_that_never_has_enough_of_reboots_fails"),
    ),
    Mutation(
        "records are kept for ever",
        "outbox.py",
        "sorted(found, reverse=True)[_KEPT_PER_RESOURCE:]",
        "[]",
        _UNIT.format(
            "outbox", "only_what_ten_newer_configs_of_its_resource_have_followed_is_pruned"
        ),
    ),
    Mutation(
        "output is not cut to the limit",
        "signal_data.py",
        "        _cut_texts(fitted, others, limit)\n",
        "        return fitted\n",
        _UNIT.format("signal_data", "outputs_that_cannot_be_cut_still_give_the_true_status_code"),
    ),
    Mutation(
        "retries wait without a cap",
        "backoff.py",
        "min(self._first * 2.0 ** min(self._tries, 30), self._cap)",
        "self._first * 2.0 ** min(self._tries, 30)",
        _UNIT.format("backoff", "years_of_tries_stay_at_the_cap"),
    ),
    Mutation(
        "a request waits for ever",
        "messaging.py",
        "            timeout=settings.request_timeout,\n            user_agent",
        "            user_agent",
        _UNIT.format("messaging", "a_service_that_never_answers_is_given_up"),
    ),
    Mutation(
        "certificates are not verified",
        "messaging.py",
        "            verify=tls_verification(settings, credentials),\n",
        "            verify=False,\n",
        _UNIT.format("messaging", "a_certificate_that_nobody_signed_is_refused_and_the_hint_helps"),
    ),
    Mutation(
        "an answer that never came counts as not sent",
        "messaging.py",
        "return TemporaryError(message) if _never_left(error) else AmbiguousError(message)",
        "return TemporaryError(message)",
        _UNIT.format("messaging", "a_request_that_may_have_arrived_is_ambiguous"),
    ),
    Mutation(
        "what a portal answers in Zaqar's place counts as Zaqar's answer",
        "messaging.py",
        "if response.ok and response.content and not _is_map(response):",
        "if False:",
        _UNIT.format("messaging", "a_request_that_may_have_arrived_is_ambiguous"),
    ),
    Mutation(
        "a signal by hand replaces a result",
        "notify.py",
        "if outbox.is_finished(deployment.id):",
        "if False:",
        _UNIT.format("notify", "a_deployment_that_has_a_result_keeps_it"),
    ),
    Mutation(
        "what a hook says after it has signalled for itself counts",
        "apply.py",
        "    if outbox.is_finished(deployment.id):\n        # Its hook",
        "    if False:\n        # Its hook",
        _UNIT.format("apply", "a_hook_that_signals_by_heat_config_notify_has_that_result"),
    ),
    Mutation(
        "a hook's outputs may be nested however deep",
        "signal_data.py",
        "if levels(body) > MOST_LEVELS else",
        "if False else",
        _UNIT.format("apply", "trouble_with_one_deployment_stops_no_other"),
    ),
    Mutation(
        "the script hook believes what the metadata says of outputs",
        "script_hook.py",
        'names = [item.get("name") for item in listed if isinstance(item, dict)]',
        'names = [item["name"] for item in listed]',
        _UNIT.format("script_hook", "outputs_that_make_no_sense_cost_no_result"),
    ),
    Mutation(
        "the script hook dies of half a character",
        "script_hook.py",
        'return text.encode("utf-8", "replace").decode()',
        "return text",
        _UNIT.format("script_hook", "halves_of_characters_are_replaced"),
    ),
    Mutation(
        "the journal shows an error like any line",
        "apply.py",
        'return "\\n".join(f"<{priority}>{line}" for line in text.splitlines())',
        "return text",
        _UNIT.format(
            "apply", "a_warning_has_its_priority_where_the_journal_reads_it_and_only_there"
        ),
    ),
    Mutation(
        "a catalog without a WebSocket stays so for ever",
        "push.py",
        "self._stopped.wait(_RENEWAL_SECONDS)",
        "self._stopped.wait()",
        _UNIT.format("push", "a_catalog_without_a_websocket_is_looked_at_again"),
    ),
]
