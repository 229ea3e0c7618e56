"""What this machine may have finished already, before its disk was put back.

Owns `doubtful.json` of the runtime directory, which a reboot takes.
Invariant: a doubt ages by a clock that nobody sets.
"""

import contextlib
import time
from collections.abc import Iterable

from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Outbox


def note(settings: Settings, outbox: Outbox, known: Iterable[str]) -> None:
    """Note what of the known configs is unfinished, and the results that wait.

    :raises OSError: the runtime directory cannot be written.
    """
    doubtful = {config_id for config_id in known if not outbox.is_finished(config_id)}
    doubtful |= {entry.id for entry in outbox.pending()}
    noted = {"since": time.monotonic(), "configs": sorted(doubtful)}
    durable.write_json(settings.doubtful_file, noted)


def age_of(settings: Settings, config_id: str) -> float | None:
    """Return for how many seconds a config has been in doubt; None where it is not."""
    with contextlib.suppress(CorruptFileError, LookupError, TypeError):
        noted = durable.read_json(settings.doubtful_file)
        if config_id in noted["configs"]:
            return float(time.monotonic() - noted["since"])
    return None
