"""Who this guest is: the machine, and the first metadata that it was handed.

Images are made of used servers, and disks are copied: the state that a machine finds may be
another's. Owns `owner.json` of the state directory, which says whose it is.
Invariant: only the owner's machine acts on the state. One that cannot know whose it is does
nothing, and one with a first metadata of its own begins anew, with the old state set aside.
"""

import contextlib
import dataclasses
import enum
import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heat_config_zaqar.deployment import Credentials, Deployment
from heat_config_zaqar.errors import CorruptFileError, ForeignStateError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import SECTION, login_of
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore

# What names a machine, the surest first. Nova gives a server's id to DMI, and cloud-init has it as
# the instance id; a machine-id is a part of the disk, and so of its copies.
_MACHINE_FILES = (
    Path("/sys/class/dmi/id/product_uuid"),
    Path("/var/lib/cloud/data/instance-id"),
    Path("/etc/machine-id"),
)
# A container sees the DMI of its host, which is that of its neighbours as well.
_CONTAINER = Path("/run/systemd/container")
# Heat's part-handler leaves one; os-apply-config reads it (`elements/os-collect-config-zaqar`).
_COPY_OF_FIRST_METADATA = Path("/var/lib/cloud/data/cfn-init-data")
# What firmware without an identity says: all digits are the same.
_NO_IDENTITY = ({"0"}, {"f"})
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_CONF_AS_BUILT = "[DEFAULT]\ncommand = os-refresh-config\n"


class Standing(enum.Enum):
    """What this machine is to the state that it finds."""

    OWNER = enum.auto()
    HEIR = enum.auto()
    STRANGER = enum.auto()


@dataclasses.dataclass(frozen=True)
class Owner:
    """Whose a state directory is.

    :ivar machine: the names of the machine, in the order of `_MACHINE_FILES`; empty where it has
        no such name.
    :ivar first: what tells its first metadata from others; empty where it was handed none.
    """

    machine: tuple[str, ...]
    first: str

    def is_same_machine(self, other: "Owner") -> bool:
        """Whether both are one machine, by the surest name that both have."""
        pairs = zip(self.machine, other.machine, strict=False)
        return next((mine == theirs for mine, theirs in pairs if mine and theirs), True)


def present(settings: Settings) -> Owner:
    """Return who this guest is now, whatever it was."""
    return Owner(_machine(), _first_metadata(settings.first_metadata))


def server_id(deployments: Iterable[Deployment]) -> str:
    """Return the server that a deployment names, else what Nova calls this machine; else nothing.

    A machine-id is no UUID: it has no hyphens.
    """
    named = (item.text_input("deploy_server_id") for item in deployments)
    known = (*named, *_machine())
    return next((name.lower() for name in known if _UUID.fullmatch(name)), "")


def first_login(settings: Settings) -> tuple[Credentials, str] | None:
    """Return login and metadata queue of the first metadata; None where it has none."""
    with contextlib.suppress(CorruptFileError, OSError):
        metadata = durable.read_json(settings.first_metadata)
        return login_of(metadata) if isinstance(metadata, dict) else None
    return None


def recorded(settings: Settings) -> Owner | None:
    """Return whose the state is; None where it does not say so, as one that was never used.

    :raises OSError: the state directory cannot be read.
    """
    known: Any = None
    with contextlib.suppress(CorruptFileError):
        known = durable.read_json(_owner_file(settings))
    if not isinstance(known, dict) or not isinstance(known.get("machine"), list):
        return None
    first = known.get("first")
    return Owner(tuple(map(str, known["machine"])), first if isinstance(first, str) else "")


def standing(settings: Settings) -> Standing:
    """Decide what this machine is to the state in the state directory.

    :raises OSError: the state directory cannot be read.
    """
    owner, now = recorded(settings), present(settings)
    stored = MetadataStore(settings.metadata_file).read()
    known = (owner.first if owner else "") or (_name_of(*stored.login) if stored.login else "")
    if not known and stored.snapshot is None:
        # An image that was booted outside Heat: there is no name that anything could be done in.
        return Standing.OWNER
    is_same = owner is None or owner.is_same_machine(now)
    if now.first and now.first != known and (known or not is_same):
        return Standing.HEIR
    return Standing.OWNER if is_same else Standing.STRANGER


def require_ownership(settings: Settings) -> None:
    """Check that what this process is about to do is done in the name of this machine.

    :raises ForeignStateError: the state is, or may be, another machine's.
    :raises OSError: the state directory cannot be read.
    """
    if standing(settings) is not Standing.OWNER:
        raise ForeignStateError(
            f"the state in {settings.state_dir} is another machine's, of which this disk is a "
            "copy: nothing is done in its name. Hand over this server's own metadata, or call "
            "`heat-config-zaqar adopt` where this machine takes the other one's place"
        )


def own(settings: Settings) -> None:
    """Record that the state is this machine's.

    :raises OSError: the state directory cannot be written.
    """
    now = present(settings)
    known = recorded(settings)
    owner = Owner(now.machine, now.first or (known.first if known else ""))
    if owner != known:
        durable.write_json(_owner_file(settings), dataclasses.asdict(owner))


def set_aside(settings: Settings) -> Path:
    """Move what another machine left behind out of the way; return where it is.

    What says whose it was goes last: cut short, it begins again where it stopped.

    :raises OSError: a file system refuses.
    """
    owner, stored = recorded(settings), MetadataStore(settings.metadata_file).read()
    # The owner goes last, and names the same directory after a crash.
    whose = owner.first if owner else stored.login[1] if stored.login else ""
    aside = settings.state_dir.with_name(
        f"{settings.state_dir.name}.of-{_as_name(whose.partition(' ')[0])}"
    )
    for older in _set_aside_before(settings):
        is_whole = (older / _owner_file(settings).name).exists()
        if older != aside or is_whole:
            shutil.rmtree(older)
    durable.make_directory(aside)
    with durable.locked(settings.state_dir / "apply.lock"):
        for path in traces(settings):
            # What is there as well was cut short on its way to another file system.
            shutil.rmtree(aside / path.name, ignore_errors=True)
            shutil.move(path, aside / path.name)
        forget_login(settings)
    return aside


def forget(settings: Settings) -> None:
    """Leave a disk of which each copy is a guest of its own; what the build made stays.

    :raises OSError: a file system refuses.
    """
    with durable.locked(settings.state_dir / "apply.lock"):
        for path in (*traces(settings), *_set_aside_before(settings)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        forget_login(settings)
        settings.first_metadata.unlink(missing_ok=True)
        if _COPY_OF_FIRST_METADATA.exists():
            _COPY_OF_FIRST_METADATA.write_text("{}\n")


def traces(settings: Settings) -> list[Path]:
    """Return what a guest's life leaves on the disk; what says who it was comes last."""
    caches = [path for path in settings.cache_dir.glob("*") if path.is_file()]
    state = [path for path in settings.state_dir.glob("*") if path != _owner_file(settings)]
    return [path for path in (*caches, *state, _owner_file(settings)) if path.exists()]


def forget_login(settings: Settings) -> None:
    """Take the login out of os-collect-config.conf, and what it brought along until a reboot.

    :raises OSError: a file system refuses.
    """
    if settings.conf_file.exists():
        settings.conf_file.write_text(_CONF_AS_BUILT)
    if settings.runtime_dir.exists():
        for path in settings.runtime_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _set_aside_before(settings: Settings) -> list[Path]:
    return list(settings.state_dir.parent.glob(f"{settings.state_dir.name}.of-*"))


def _owner_file(settings: Settings) -> Path:
    return settings.state_dir / "owner.json"


def _machine() -> tuple[str, ...]:
    return tuple(map(_name_in, _MACHINE_FILES))


def _name_in(path: Path) -> str:
    if path == _MACHINE_FILES[0] and _CONTAINER.exists():
        return ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        name = path.read_text().strip().lower()
        return "" if set(name) - {"-"} in _NO_IDENTITY else name
    return ""


def _first_metadata(path: Path) -> str:
    """Return what tells a first metadata from others: queue and user, else all that it says."""
    with contextlib.suppress(CorruptFileError, OSError):
        metadata = durable.read_json(path)
        section = metadata.get(SECTION) if isinstance(metadata, dict) else None
        if isinstance(section, dict) and section:
            login = login_of({SECTION: section})
            return _name_of(*login) if login else _digest(section)
    return ""


def _name_of(login: Credentials, queue: str) -> str:
    return f"{queue} of {login.user_id}"


def _digest(section: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()


def _as_name(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum() or letter in "-_")[:64] or "nobody"
