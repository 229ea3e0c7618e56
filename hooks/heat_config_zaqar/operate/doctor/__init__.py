"""Finds what is wrong with a guest and names the first cause, with what to do.

Owns the checks, by what they look at. Never changes anything but a probe file, and shows no secret.
"""
