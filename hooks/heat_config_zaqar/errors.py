"""The kinds of failure that callers treat differently.

Invariant: what a user or operator can act on is one of these, with a message that says what
happened and to which deployment, file or service; anything else that is raised is a bug.
"""


class HeatConfigError(Exception):
    """Base of every expected failure."""


class SettingsError(HeatConfigError):
    """The settings file of the image holds something that cannot be used."""


class InvalidMetadataError(HeatConfigError):
    """A metadata message or one deployment in it is malformed and cannot be run."""


class CorruptFileError(HeatConfigError):
    """A file of the state directory cannot be read back."""


class RefusedError(HeatConfigError):
    """What the operator asked for would do harm, or cannot be done now: nothing was changed."""


class ForeignStateError(HeatConfigError):
    """The state is another machine's, of which this disk is a copy."""


class UnknownServerError(HeatConfigError):
    """Nothing says which server of Heat's this is."""


class RebootDueError(HeatConfigError):
    """A hook asked for a reboot: nothing more is to be started before it."""


class TemporaryError(HeatConfigError):
    """Not carried out, but may succeed later.

    :ivar is_away: the connection failed: whatever else is meant for the same service would as well.
    """

    is_away = False


class AmbiguousError(TemporaryError):
    """The request had left when the connection failed: it may or may not have been carried out."""


class PermanentError(HeatConfigError):
    """A service refused for good; the same request will never succeed."""


class RejectedError(PermanentError):
    """A service, or a proxy in its place, refused the request."""


class UnacceptableError(RejectedError):
    """A service finds fault with what the request says (400)."""


class UnauthorizedError(RejectedError):
    """Keystone refuses the user: the stack was deleted, or the credentials are wrong."""
