"""What the invariants of the room `state` rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "a file's content is not fsynced before it gets its name",
        "state/durable.py",
        "os.fsync(stream.fileno())",
        "pass",
        "a_power_cut_after_writing_loses_nothing",
    ),
    Mutation(
        "a file's name is not fsynced",
        "state/durable.py",
        "        raise\n    _sync_directory(path.parent)",
        "        raise",
        "a_power_cut_after_writing_loses_nothing",
    ),
    Mutation(
        "a removal is not fsynced",
        "state/durable.py",
        "path.unlink()\n        _sync_directory(path.parent)",
        "path.unlink()",
        "a_power_cut_after_writing_loses_nothing",
    ),
    Mutation(
        "a new directory is not fsynced",
        "state/durable.py",
        "path.mkdir(mode=0o700)\n    _sync_directory(path.parent)",
        "path.mkdir(mode=0o700)",
        "a_power_cut_after_writing_loses_nothing",
    ),
    Mutation(
        "a crash while settling sends again",
        "state/outbox.py",
        "if self._path(state, path.stem).exists():",
        "if False:",
        "a_crash_between_settling_and_removing_does_not_send_again",
    ),
    Mutation(
        "an entry goes before it is sure that its successor stays",
        "state/outbox.py",
        "                durable.confirm(self._path(state, path.stem))\n",
        "",
        "a_crash_within_settling_and_then_a_power_cut_loses_no_state",
    ),
    Mutation(
        "a password stays on disk after its signal",
        "state/outbox.py",
        'entry, credentials=None, url="",',
        'entry, url="",',
        "a_settled_entry_stays_finished_and_keeps_no_password",
    ),
    Mutation(
        "an entry that cannot be read costs the others",
        "state/outbox.py",
        "sorted(filter(None, entries), key",
        "sorted(entries, key",
        "an_entry_that_cannot_be_read_is_logged_and_costs_no_other",
    ),
    Mutation(
        "state directories are for everybody",
        "state/durable.py",
        "path.mkdir(mode=0o700)",
        "path.mkdir()",
        "files_and_directories_are_for_root_alone",
    ),
    Mutation(
        "a reboot that a hook asked for counts as an interruption",
        "state/runs.py",
        "return self.attempts - self.reboots",
        "return self.attempts",
        "a_reboot_that_was_asked_for_is_no_interruption",
        "unit/state/test_outbox.py",
    ),
    Mutation(
        "records are kept for ever",
        "state/outbox.py",
        "sorted(found, reverse=True)[_KEPT_PER_RESOURCE:]",
        "[]",
        "only_what_ten_newer_configs_of_its_resource_have_followed_is_pruned",
    ),
]
