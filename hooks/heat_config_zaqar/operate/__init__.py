"""What an operator in the guest calls: status, show, logs, resend, rerun, doctor, collect-logs …

Owns the command line, what it prints and its exit codes. Never decides what runs or is signalled:
the rooms below do, for an operator's wish as for the service's.
"""
