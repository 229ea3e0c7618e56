"""What the invariants of the room `run` rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "a finished deployment runs again",
        "run/apply.py",
        "if not outbox.is_finished(item.id)]",
        "]",
        "each_deployment_runs_once_however_often_it_is_applied",
    ),
    Mutation(
        "a config runs after its successor",
        "run/apply.py",
        "outbox.results() if unfinished else ()",
        "()",
        "a_config_whose_successor_has_a_result_never_runs",
    ),
    Mutation(
        "a hook that never survives is tried for ever",
        "run/apply.py",
        "if run.interruptions >= current.max_attempts:",
        "if False:",
        "a_hook_that_was_interrupted_too_often_fails_with_the_reason",
    ),
    Mutation(
        "a result that is not on disk counts as one",
        "run/apply.py",
        'will try again", error)\n        return 1',
        'will try again", error)\n        return 0',
        "a_result_that_cannot_be_made_durable_is_an_error_for_os_collect_config",
    ),
    Mutation(
        "a hook may take for ever",
        "run/hook_runner.py",
        "seconds=timeout):",
        "seconds=20):",
        "a_hook_that_takes_too_long_is_killed_with_all_it_started",
    ),
    Mutation(
        "a deployment whose hook is missing is skipped, and Heat waits for it",
        "run/apply.py",
        "return None if deployment.group in GROUPS_WITHOUT_HOOK else missing",
        "return None",
        "trouble_with_one_deployment_stops_no_other",
    ),
    Mutation(
        "a hook whose starter was killed goes on beside its second run",
        "run/apply.py",
        "        _end_orphans(outbox)\n        delivery",
        "        delivery",
        "a_hook_that_outlives_its_killed_starter_is_ended_before_it_runs_again",
    ),
    Mutation(
        "a process that took a hook's pid is killed",
        "run/processes.py",
        "if leader.pid in there and there[leader.pid].started != leader.started:",
        "if False:",
        "a_process_of_another_boot_or_start_is_left_alone",
    ),
    Mutation(
        "a hook starts before its process is recorded",
        "run/hook_runner.py",
        "[*_GATE, hook],",
        "[hook],",
        "a_hook_whose_starter_is_killed_before_the_record_never_runs",
    ),
    Mutation(
        "a hook may ask for reboots for ever",
        "run/apply.py",
        "if run.reboots < _MOST_REBOOTS:",
        "if True:",
        "a_hook_that_never_has_enough_of_reboots_fails",
    ),
    Mutation(
        "what a hook says after it has signalled for itself counts",
        "run/apply.py",
        "    if not outbox.is_finished(deployment.id):\n        attempts",
        "    if True:\n        attempts",
        "a_hook_that_signals_by_heat_config_notify_has_that_result",
    ),
    Mutation(
        "the script hook believes what the metadata says of outputs",
        "run/script_hook.py",
        'names = [item.get("name") for item in listed if isinstance(item, dict)]',
        'names = [item["name"] for item in listed]',
        "outputs_that_make_no_sense_cost_no_result",
    ),
    Mutation(
        "the script hook dies of half a character",
        "run/script_hook.py",
        'return text.encode("utf-8", "replace").decode()',
        "return text",
        "halves_of_characters_are_replaced",
    ),
]
