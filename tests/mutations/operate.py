"""What the invariants of the room `operate` rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "a signal from before a reboot goes out before metadata was collected",
        "operate/deliver.py",
        "    if not current.collected_file.exists():\n",
        "    if False:\n",
        "delivery_waits_for_metadata_that_was_collected_since_the_start",
        "unit/operate/test_cli.py",
    ),
    Mutation(
        "a signal that Heat has is sent once more",
        "operate/resend.py",
        "        if where is not Settled.FAILED:\n",
        "        if False:\n",
        "a_delivered_signal_is_not_sent_again",
        "unit/operate/test_cli.py",
    ),
    Mutation(
        "a result that may have left is replaced by that of a rerun",
        "operate/rerun.py",
        "        if pending is not None and not pending.sending:\n",
        "        if pending is not None:\n",
        "a_rerun_replaces_no_result_that_may_have_left",
        "unit/operate/test_cli.py",
    ),
    Mutation(
        "a config that a newer one replaced is run again",
        "operate/report.py",
        "        if newer is not None:\n",
        "        if False:\n",
        "a_config_that_was_replaced_is_not_run_again",
        "unit/operate/test_cli.py",
    ),
    Mutation(
        "show prints the pre-signed URL",
        "operate/report.py",
        '_SECRET_KEYS = ("credentials", "url")',
        '_SECRET_KEYS = ("credentials",)',
        "show_and_status_keep_every_secret",
        "unit/operate/test_cli.py",
    ),
    Mutation(
        "a hook seems to hang when the clock was set",
        "operate/row.py",
        "        seconds = _age(record) or seconds\n",
        "        pass\n",
        "a_hook_is_no_older_for_a_clock_that_was_set",
        "unit/operate/test_cli.py",
    ),
    Mutation(
        "doctor names the service that dies before what it dies of",
        "operate/doctor/machine.py",
        "CHECKS = (_settings, _identity, _disk, _state, _cache, _conf, _service)",
        "CHECKS = (_service, _settings, _identity, _disk, _state, _cache, _conf)",
        "the_doctor_names_the_cause_and_not_what_follows_from_it",
        "unit/operate/test_doctor_faults.py",
    ),
    Mutation(
        "doctor shows the password of a proxy",
        "operate/doctor/reach.py",
        '.partition("/")[0].rpartition("@")[2] or url',
        '.partition("/")[0] or url',
        "the_doctor_names_the_fault_first",
        "unit/operate/test_doctor_faults.py",
    ),
]
