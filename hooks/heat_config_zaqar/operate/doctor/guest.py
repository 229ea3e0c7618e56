"""What the checks share: the ways they can end, and what more than one of them looks at."""

import contextlib
import dataclasses
import os
from functools import cached_property
from pathlib import Path

from heat_config_zaqar import settings
from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import CorruptFileError, HeatConfigError, SettingsError
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import Snapshot, login_of
from heat_config_zaqar.state import durable
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# Where Heat's user-data leaves the first metadata, before any message.
FIRST_METADATA = Settings.first_metadata
# What os-apply-config renders of the metadata, and os-collect-config reads.
CONFIG_FILE = Settings.conf_file
# os-collect-config's default.
CACHE_DIRECTORY = Settings.cache_dir


class Problem(Exception):  # noqa: N818 # a finding, not a failure of the doctor
    """Raised by a check that found something wrong: what it saw, and what to do about it."""


class NotChecked(Exception):  # noqa: N818
    """Raised by a check where an earlier problem leaves nothing to look at."""


class Guest:
    """This machine during one examination; each thing is looked up once, when first needed.

    :ivar queue: the metadata queue, once it could be read.
    """

    queue: Queue | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings, where they can be read."""
        try:
            return settings.load()
        except SettingsError:
            raise NotChecked("the settings cannot be read") from None

    @cached_property
    def report(self) -> Report:
        """What `status` shows."""
        return Report(self.settings)

    @cached_property
    def first_metadata(self) -> Snapshot:
        """What Heat's user-data left; empty where it did not, or it cannot be read."""
        with contextlib.suppress(CorruptFileError, OSError):
            first = durable.read_json(FIRST_METADATA)
            return first if isinstance(first, dict) else {}
        return {}

    @cached_property
    def login(self) -> tuple[Credentials, str]:
        """The server's login and metadata queue, of the stored metadata or the first one."""
        known = self.report.stored.login or login_of(self.first_metadata)
        if known is None:
            raise NotChecked("no login is known")
        return known

    @cached_property
    def refusal(self) -> HeatConfigError | None:
        """Why one cannot log in at Keystone; None where one can."""
        try:
            self._connection.token()
        except HeatConfigError as error:
            return error
        return None

    @property
    def catalog(self) -> Connection:
        """A connection that has logged in."""
        if self.refusal is not None:
            raise NotChecked("there is no Keystone token")
        return self._connection

    @cached_property
    def _connection(self) -> Connection:
        """A connection with a token of its own: a stored one would hide a wrong password."""
        # Below it nothing can be found or kept.
        nowhere = dataclasses.replace(self.settings, runtime_dir=Path(os.devnull))
        return Connection(self.login[0], nowhere)
