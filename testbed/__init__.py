"""What the tests and the demonstration stand on: a real cloud on loopback, and guests for it.

Nothing in here is part of the product, and nothing of the product may import it.
"""
