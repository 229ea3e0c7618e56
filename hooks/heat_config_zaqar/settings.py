"""What the image was built with, or the operator set since: `/etc/heat-config-zaqar.toml`.

Invariant: this is the only place that knows the file's keys, their defaults and the default paths;
a missing file means the defaults, a key it does not know or a value that cannot work is an error.
"""

import contextlib
import dataclasses
import os
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heat_config_zaqar.deployment import MOST_SECONDS
from heat_config_zaqar.errors import SettingsError

SETTINGS_FILE = Path("/etc/heat-config-zaqar.toml")
SETTINGS_VARIABLE = "HEAT_CONFIG_ZAQAR_SETTINGS"
# The least and the most of each number; a message of the metadata queue lives for an hour.
_BOUNDS = {
    "max_attempts": (1, 1000),
    "hook_timeout": (0, MOST_SECONDS),
    "poll_interval": (0.1, 1800),
    "request_timeout": (0.1, 600),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings, each with its default.

    :param ca_file: PEM file that certificates are verified with, instead of the system's store.
    :param insecure: do not verify certificates at all.
    :param proxy: HTTP proxy for all requests, as `http://HOST:PORT`; empty for none. The variables
        `http_proxy` and its like are not looked at.
    :param no_proxy: hosts, domains and networks that are reached without it, with commas between.
    :param max_attempts: how often a hook that a crash or reboot interrupts is started.
    :param hook_timeout: seconds a hook may take; 0 for no limit.
    :param push: be woken by Zaqar's WebSocket where the catalog has one.
    :param poll_interval: seconds between two polls of an idle guest that nothing wakes.
    :param request_timeout: seconds to wait for a connection, and for each read from it.
    :param console: the device on which the service says what it does; empty for none.
    :param progress_line: show in Heat the last line that a script printed, while it runs.
    :param state_dir: where state lives that must survive a reboot.
    :param runtime_dir: where tokens and other things live that a reboot may take.
    :param working_dir: where the script hook keeps the scripts and collects their outputs.
    :param first_metadata: where Heat's user-data leaves the server's metadata, before any message.
    :param conf_file: os-collect-config's configuration, with the server's login.
    :param cache_dir: os-collect-config's own copies of what was collected.
    """

    ca_file: str = ""
    insecure: bool = False
    proxy: str = ""
    no_proxy: str = ""
    max_attempts: int = 3
    hook_timeout: float = 14400
    push: bool = True
    poll_interval: float = 10
    request_timeout: float = 10
    console: str = "/dev/console"
    progress_line: bool = True
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
    def doubtful_file(self) -> Path:
        """Holds the configs that may have been finished before the disk was put back."""
        return self.runtime_dir / "doubtful.json"

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
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{origin} is not TOML: {error}") from error
    known = {field.name: field.default for field in dataclasses.fields(Settings)}
    return Settings(**{key: _usable(origin, key, value, known) for key, value in values.items()})


def _usable(origin: str, key: str, value: Any, known: dict[str, Any]) -> Any:
    if key not in known:
        raise SettingsError(f"{origin}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    default = known[key]
    text = isinstance(default, str | Path)
    accepted = (int, float) if key in _BOUNDS and key != "max_attempts" else (type(default),)
    if type(value) not in ((str,) if text else accepted) or (text and "\0" in value):
        raise SettingsError(f"{origin}: {key} must be like {str(default)!r}, not {value!r}")
    if key in _BOUNDS and not _BOUNDS[key][0] <= value <= _BOUNDS[key][1]:
        least, most = _BOUNDS[key]
        raise SettingsError(f"{origin}: {key} must be from {least:g} to {most:g}, not {value!r}")
    if key == "proxy" and value and not is_http_url(value):
        raise SettingsError(f"{origin}: proxy must be like 'http://proxy.example:3128'")
    if key == "console" and value and not Path(value).is_absolute():
        raise SettingsError(f"{origin}: console must be like {default!r}, or '' for none")
    if isinstance(default, Path):
        if not Path(value).is_absolute():
            raise SettingsError(f"{origin}: {key} must be an absolute path, not {value!r}")
        return Path(value)
    return value


def is_http_url(text: str) -> bool:
    """Whether requests can be sent to an address, or through it."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname and parts.port != 0)
    return False
