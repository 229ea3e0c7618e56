"""The help of each subcommand of `heat-config-zaqar`: a summary, an empty line, and the rest.

Invariant: says what the words of the output mean; how to use it is in `docs/operations.md`.
"""

HELP = {
    "status": """\
list the deployments, their states and signals

The first line says how this guest hears of new metadata: push (a WebSocket),
polling, away (a service cannot be reached), refused (Keystone does not accept the
login), foreign (the disk is a copy of another machine's) or unknown.

STATE   waiting, running, interrupted (a crash or reboot ended the hook; it is
        run again), complete, failed (with its status code), no hook (its group
        has none and needs none), unreadable
SIGNAL  pending (will be sent), delivered, failed (given up), superseded (a newer
        config took its place), not wanted (NO_SIGNAL); - before there is a result

With --wait it is printed when nothing waits, runs or is pending any more, or when
the seconds are over; before the first metadata something is still to come.

examples:
  heat-config-zaqar status
  heat-config-zaqar status --wait 600
  heat-config-zaqar status --json | jq '.deployments[] | select(.state == "failed")'""",
    "show": """\
show all that is known of one deployment, but no secret

examples:
  heat-config-zaqar show 00-configure
  heat-config-zaqar show --json 3f2a91c0""",
    "logs": """\
print what the hook of one deployment printed, or the journal while it runs

examples:
  heat-config-zaqar logs 00-configure
  heat-config-zaqar logs --follow 3f2a91c0""",
    "resend": """\
send a signal that was given up once more, if Heat still waits for it

examples:
  heat-config-zaqar resend 00-configure""",
    "rerun": """\
run the hook of one deployment once more, now

The result is signalled only where the former one never left this guest; what Heat
has stays as it is. The exit code is 0 for a status code of 0, else 1.

examples:
  heat-config-zaqar rerun 00-configure""",
    "deliver": """\
try to send each pending signal once, as the timer does

examples:
  heat-config-zaqar deliver""",
    "doctor": """\
find what is wrong, and what to do about it

Logs in once, with a token of its own, and writes a probe file; it changes nothing
else. Without root's rights only some checks can be made.

examples:
  heat-config-zaqar doctor
  heat-config-zaqar doctor --json | jq -r '.[] | select(.result == "problem").detail'""",
    "collect-logs": """\
make one archive about this guest, for whoever supports it

A tar.gz of 5 MB at most, which root alone can read: settings, versions, deployments
and their states, what doctor says, cloud-init's result, and of the journal what our
programs logged. What hooks print is left out, and whatever else may be secret reads
[redacted]. Look through it all the same before it leaves your hands.

examples:
  heat-config-zaqar collect-logs
  heat-config-zaqar collect-logs /root/guest.tar.gz""",
    "metrics": """\
count deployments, signals and what waits, for Prometheus

examples:
  heat-config-zaqar metrics
  heat-config-zaqar metrics /var/lib/prometheus/node-exporter/heat_config_zaqar.prom""",
    "adopt": """\
take the place of the machine whose disk this is

A machine whose disk was copied does nothing in the first one's name. Where that one
is gone, as after a migration that gave this machine another UUID, this one goes on.

examples:
  heat-config-zaqar adopt""",
    "clean": """\
forget this guest, to make an image of its disk

Removes its deployments, their results, logins and os-collect-config's copies; keeps
what the build of the image made. Refuses while a hook runs. What else tells machines
apart is not its business: `cloud-init clean --machine-id`, the host keys of sshd.

examples:
  heat-config-zaqar clean --yes && poweroff""",
    "version": """\
print the version of the guest package

examples:
  heat-config-zaqar version""",
}
