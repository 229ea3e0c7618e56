"""Sends the results that wait in the outbox, by the transport that each deployment asked for.

Owns the order of a send and its doubts. Never runs anything, and never puts a second message into a
signal queue. Tells how far deployments are, in queues of their own.
"""
