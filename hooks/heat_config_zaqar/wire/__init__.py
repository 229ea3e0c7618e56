"""The only code that talks to the network: Keystone, Zaqar, Heat, and pre-signed URLs.

Owns requests, tokens, certificates, the WebSocket, and what each failure means: whatever asks for
an answer raises TemporaryError or PermanentError, see `failures`. Never knows the state directory
but for tokens, and never decides what is sent or when.
"""
