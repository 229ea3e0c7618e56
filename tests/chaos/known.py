"""What histories leave out, since the product is known to fail at it.

B4: a deployment with CFN_SIGNAL or TEMP_URL_SIGNAL carries no login, so on a server that polls Heat
nobody can be asked for newer metadata before its signal. G1: a look for newer metadata that fails
keeps only signals to Zaqar and Heat back, not those by other hosts.
Invariant: a switch is the name of an event, of a hostile neighbour, or of a check; the row is the
fault's. Whoever mends the fault takes its switches out. `python -m tests.chaos --known all` has
them in.
"""

KNOWN: dict[str, str] = {
    "update without a queue": "B4",
    "look at the queue that fails": "G1",
}


def left_out(wanted: str) -> frozenset[str]:
    """Return the switches that are off.

    :param wanted: switches or rows to have in all the same, with commas between them; or `all`.
    """
    names = {name.strip() for name in wanted.split(",")}
    if "all" in names:
        return frozenset()
    return frozenset(name for name, row in KNOWN.items() if not names & {name, row})
