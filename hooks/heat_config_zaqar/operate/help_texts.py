"""The text of `heat-config-zaqar --help` and of each subcommand's.

Invariant: says what `cli` does; `docs/operations.md` repeats the exit codes and nothing else.
"""

EXIT_CODES = """\
exit codes:
  0    all is settled and well
  1    trouble: a deployment failed, a signal was given up, a check found a
       problem, or what was asked for was refused or did not work
  2    the command line is wrong, or no single deployment goes by that ID
  3    not settled yet: a deployment waits or runs, or a signal is pending
  4    root's rights are needed
  130  interrupted by Ctrl-C
"""

# Summary, description and examples of each subcommand.
HELP = {
    "status": (
        "list the deployments, their states and signals",
        """\
Lists the deployments that Heat's metadata holds now, and whatever else still
runs or waits. The first line says how this guest hears of new metadata: push
(a WebSocket), polling, away (a service cannot be reached), refused (Keystone
does not accept the login) or unknown.

STATE   waiting, running, interrupted (a crash or reboot ended the hook; it is
        run again), complete, failed (with its status code), unreadable
SIGNAL  pending (will be sent), delivered, failed (given up), superseded (a newer
        config took its place), not wanted (NO_SIGNAL); - before there is a result

Without root's rights: the version and the state of the services.""",
        """\
  heat-config-zaqar status
  until heat-config-zaqar status >/dev/null; [ $? -ne 3 ]; do sleep 1; done
  heat-config-zaqar status --json | jq '.deployments[] | select(.state == "failed")'""",
    ),
    "show": (
        "show all that is known of one deployment",
        """\
Shows one deployment: its state, times, inputs, result and the way of its signal.
Inputs are named without their values, and no login or URL is shown. The exit
code is that of `status` for this deployment alone.""",
        "  heat-config-zaqar show 00-configure\n  heat-config-zaqar show --json 3f2a91c0",
    ),
    "logs": (
        "print what the hook of one deployment printed",
        """\
Prints the standard output and the standard error of the result, each to our own.
While the hook runs, or where its result holds neither, prints the journal of
os-collect-config from the start of the hook on, which has the hooks' output.""",
        "  heat-config-zaqar logs 00-configure\n  heat-config-zaqar logs --follow 3f2a91c0",
    ),
    "resend": (
        "send a signal that was given up once more",
        """\
Sends the result of a deployment whose signal was given up (SIGNAL failed), once
the reason is gone. It goes through Heat's own API, and only if Heat still has
this config for the deployment: a message in the signal queue that Heat no longer
waits for would complete the next stack update with old outputs. For the same
reason a signal that was delivered or superseded is refused. One that is pending
is tried at once.""",
        "  heat-config-zaqar resend 00-configure",
    ),
    "rerun": (
        "run the hook of one deployment once more, now",
        """\
Runs the hook of a deployment in this terminal, with the output as it comes. No
os-refresh-config runs deployments meanwhile.

What Heat hears of it depends on the former result. If there is none, or its
signal has not left this guest, the new result is signalled in its place. If it
was delivered, Heat keeps what it has, the new result is only shown, and
`openstack stack update` is the way to have Heat run it again. A config that a
newer one replaced is refused.

The exit code is 0 for a status code of 0; 1 for another one, or where the signal
was refused.""",
        "  heat-config-zaqar rerun 00-configure",
    ),
    "deliver": (
        "try to send each pending signal once",
        """\
Sends what waits in the outbox. heat-config-zaqar-deliver.timer does the same each
half minute. After a boot nothing is sent before metadata was collected: the stack
may have been updated meanwhile.""",
        "  heat-config-zaqar deliver",
    ),
    "doctor": (
        "find what is wrong, and what to do about it",
        """\
Checks this guest and its way to Keystone, Zaqar and Heat in the order one would
look, prints a line for each check, and names the first problem with what to do.
It logs in once, with a token of its own, and writes a probe file; it changes
nothing else. Without root's rights only some checks can be made.""",
        """\
  heat-config-zaqar doctor
  heat-config-zaqar doctor --json | jq -r '.[] | select(.result == "problem").detail'""",
    ),
    "version": (
        "print the version of the guest package",
        "Prints the version of the guest package.",
        "  heat-config-zaqar version",
    ),
}
