"""What the image was built with, or the operator set since: `/etc/heat-config-zaqar.toml`.

Invariant: this is the only place that knows the file's keys, their defaults and the default paths;
a missing file means the defaults, a key it does not know or a value of a wrong type is an error.
"""

import dataclasses
import os
import tomllib
from pathlib import Path
from typing import Any

from heat_config_zaqar.errors import SettingsError

SETTINGS_FILE = Path("/etc/heat-config-zaqar.toml")
SETTINGS_VARIABLE = "HEAT_CONFIG_ZAQAR_SETTINGS"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings, each with its default.

    :param ca_file: PEM file that certificates are verified with, instead of the system's store.
    :param insecure: do not verify certificates at all.
    :param max_attempts: how often a hook that a crash or reboot interrupts is started.
    :param hook_timeout: seconds a hook may take; 0 for no limit.
    :param push: be woken by Zaqar's WebSocket where the catalog has one.
    :param poll_interval: seconds between two polls of an idle guest that nothing wakes.
    :param request_timeout: seconds to wait for a connection, and for each read from it.
    :param state_dir: where state lives that must survive a reboot.
    :param runtime_dir: where tokens and other things live that a reboot may take.
    :param working_dir: where the script hook keeps the scripts and collects their outputs.
    :param first_metadata: where Heat's user-data leaves the server's metadata, before any message.
    :param conf_file: os-collect-config's configuration, with the server's login.
    :param cache_dir: os-collect-config's own copies of what was collected.
    """

    ca_file: str = ""
    insecure: bool = False
    max_attempts: int = 3
    hook_timeout: float = 0
    push: bool = True
    poll_interval: float = 10
    request_timeout: float = 10
    state_dir: Path = Path("/var/lib/heat-config-zaqar")
    runtime_dir: Path = Path("/run/heat-config-zaqar")
    working_dir: Path = Path("/var/lib/heat-config/heat-config-script")
    first_metadata: Path = Path("/var/lib/heat-cfntools/cfn-init-data")
    conf_file: Path = Path("/etc/os-collect-config.conf")
    cache_dir: Path = Path("/var/lib/os-collect-config")

    @property
    def metadata_file(self) -> Path:
        """Where the last snapshot of the server's metadata is stored."""
        return self.state_dir / "metadata.json"

    @property
    def token_dir(self) -> Path:
        """Where Keystone tokens are kept until they expire."""
        return self.runtime_dir / "tokens"

    @property
    def connection_file(self) -> Path:
        """How the collector hears of metadata at the moment, for the operator."""
        return self.runtime_dir / "connection.json"

    @property
    def collected_file(self) -> Path:
        """Holds when metadata was last collected; not there before it was since the boot."""
        return self.runtime_dir / "collected"


def load() -> Settings:
    """Read the settings file; `HEAT_CONFIG_ZAQAR_SETTINGS` names another one.

    :raises SettingsError: it cannot be read, or holds an unknown key or a value of a wrong type.
    """
    path = Path(os.environ.get(SETTINGS_VARIABLE, SETTINGS_FILE))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    return parse(text, str(path))


def parse(text: str, origin: str) -> Settings:
    """Make settings of TOML text; `origin` names its source in messages.

    :raises SettingsError: as `load`.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{origin} is not TOML: {error}") from error
    known = {field.name: field.default for field in dataclasses.fields(Settings)}
    return Settings(**{key: _typed(origin, key, value, known) for key, value in values.items()})


def _typed(origin: str, key: str, value: Any, known: dict[str, Any]) -> Any:
    if key not in known:
        raise SettingsError(f"{origin}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    default = known[key]
    if isinstance(default, Path) and isinstance(value, str):
        return Path(value)
    number = isinstance(default, int | float) and not isinstance(default, bool)
    accepted = (int, float) if number and key != "max_attempts" else (type(default),)
    if type(value) not in accepted:
        raise SettingsError(f"{origin}: {key} must be like {default!r}, not {value!r}")
    if (number and value < 0) or (key == "max_attempts" and value < 1):
        raise SettingsError(f"{origin}: {key} is too small: {value!r}")
    return value
