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
]
