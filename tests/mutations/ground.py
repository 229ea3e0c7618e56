"""What the invariants of the ground, Heat's formats and settings, rest on."""

from tests.mutations.mutation import Mutation

MUTATIONS = [
    Mutation(
        "a malformed deployment costs the others",
        "snapshot.py",
        '_LOG.error("ignored: %s", error)',
        "raise",
        "a_malformed_deployment_costs_no_other",
        "unit/collect/test_batch.py",
    ),
    Mutation(
        "a newer config takes no other's place",
        "succession.py",
        "newest.creation_time <= config.creation_time",
        "True",
        "the_newest_config_of_a_resource_follows_all_others",
    ),
    Mutation(
        "the journal shows an error like any line",
        "log.py",
        'return "\\n".join(f"<{priority}>{line}" for line in text.splitlines())',
        "return text",
        "a_warning_has_its_priority_where_the_journal_reads_it_and_only_there",
        "unit/run/test_apply.py",
    ),
    Mutation(
        "the password shows where a deployment is printed",
        "deployment.py",
        "password: str = dataclasses.field(repr=False)",
        "password: str",
        "the_password_is_not_in_the_repr",
    ),
    Mutation(
        "an id may be a path",
        "deployment.py",
        "_SAFE_ID.fullmatch(config_id)",
        "_SAFE_ID.match(config_id)",
        "rejects_an_id_that_is_no_file_name",
    ),
    Mutation(
        "Heat gets a body that is no map",
        "signal_body.py",
        '    if not isinstance(body, dict):\n        return "is not a map"\n',
        "    if not isinstance(body, dict):\n        return ''\n",
        "what_is_malformed_is_named",
        "unit/deliver/test_notify.py",
    ),
    Mutation(
        "output is not cut to the limit",
        "signal_body.py",
        "        _cut_texts(fitted, others, limit)\n",
        "        return fitted\n",
        "outputs_that_cannot_be_cut_still_give_the_true_status_code",
    ),
    Mutation(
        "retries wait without a cap",
        "backoff.py",
        "min(max(lasted, first), cap)",
        "max(lasted, first)",
        "waits_double_up_to_the_cap",
    ),
    Mutation(
        "a hook's outputs may be nested however deep",
        "signal_body.py",
        "return too_deep(body)",
        "return ''",
        "trouble_with_one_deployment_stops_no_other",
        "unit/run/test_apply.py",
    ),
]
