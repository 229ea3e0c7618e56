"""What histories leave out, since the product is known to fail at it.

`G` is what this driver itself found: G1, a look for newer metadata that fails keeps only signals to
Zaqar back, and those by other transports complete an update with old outputs.
Invariant: a switch is the name of an event, of a hostile neighbour, or of a check; the row is the
fault's. Whoever mends the fault takes its switches out. `python -m tests.chaos --known all` has
them in.
"""

KNOWN: dict[str, str] = {
    "name with a slash": "A2",
    "name with a dot": "A2",
    "name of 300 characters": "A2",
    "name that is a number": "A2",
    "id with a slash": "A2",
    "id with a dot": "A2",
    "id of 300 characters": "A2",
    "group that is a number": "A2",
    "input without a name": "A2",
    "input that is a number": "A2",
    "nested too deep": "A2",
    "output with a surrogate": "A1",
    "output of 2**70": "A1",
    "queue without a name": "A1",
    "URL without a scheme": "A1",
    "URL of a host that is not there": "A1",
    "URL that is none": "A8",
    "structured, named as a collector": "A4",
    "structured, of 90 wide characters": "A4",
    "ungrouped, without a config": "A4",
    "entries that are none, by another source": "A4",
    "refusal by Heat": "B3",
    "login page before Heat": "D4",
    "locale of a terminal": "A7",
    "update without a queue": "B4",
    "look at the queue that fails": "G1",
    "second_os_collect_config": "B5",
    "closed_terminal": "C5",
    "output of a long list": "C3",
    "clock forward": "D3",
    "no URL of a signal in any output": "D1",
    "resource to be quoted": "E8",
    "lost_subscription": "12.3",
}


def left_out(wanted: str) -> frozenset[str]:
    """Return the switches that are off.

    :param wanted: switches or rows to have in all the same, with commas between them; or `all`.
    """
    names = {name.strip() for name in wanted.split(",")}
    if "all" in names:
        return frozenset()
    return frozenset(name for name, row in KNOWN.items() if not names & {name, row})
