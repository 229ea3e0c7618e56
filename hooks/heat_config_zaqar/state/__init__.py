"""What survives a crash: durable files, the stored metadata, runs, and the outbox.

Owns the state directory and its formats. Never talks to the network, and starts no process.
"""
