"""The built image against a real cloud, by a clouds.yaml entry: create, check, change, delete.

Invariant: whatever it made in the cloud, the image included, has a name that begins with the run's,
and is deleted at the end, however it ends. What even SIGKILL leaves behind, the command that it
printed first removes. Where the cloud has no Nova or Glance, as the test cloud without them, it
says so, and the image is booted here as an OS::Heat::DeployedServer.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import openstack
from keystoneauth1.exceptions import ClientException, NotFound
from openstack.connection import Connection
from openstack.exceptions import SDKException

from testbed import image as images
from testbed.guest import GuestError, container, unpack
from testbed.heat import Heat, HeatError
from testbed.isolated import NotIsolatedError
from testbed.operator_actions import ACTIONS, FAREWELL, Trial, TrialError

_NEEDED = ("orchestration", "messaging")
_TO_BOOT_THERE = ("compute", "image", "network")
_TIMEOUT_SECONDS = 1800
_POLL_SECONDS = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class AcceptanceError(Exception):
    """What the cloud lacks, or showed instead of what it should."""


class _SignalledError(BaseException):
    """A signal asked for the end; no library may take it for an error of its own."""


_EXPECTED = (
    *(AcceptanceError, _SignalledError, TrialError),
    *(images.ImageError, GuestError, HeatError, NotIsolatedError, SDKException, ClientException),
)
_Say = Callable[[str], None]


def main() -> int:
    """Run the built image in a cloud of clouds.yaml, with Zaqar in both directions."""
    options = _parser().parse_args()
    try:
        with _signals_raised():
            return _remove_all(options) if options.remove else _run(options)
    except _EXPECTED as error:
        print(f"acceptance: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed.acceptance", description=main.__doc__)
    parser.add_argument("--cloud", required=True, help="an entry of clouds.yaml")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", type=Path, help="what `python -m testbed.image --out` was given")
    what.add_argument("--remove", metavar="NAME", help="delete all that a run of that name left")
    parser.add_argument("--flavor", default="m1.small", help="default: m1.small")
    parser.add_argument("--network", default="private", help="default: private")
    parser.add_argument(
        "--timeout",
        type=float,
        default=_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help=f"how long one step may take; default: {_TIMEOUT_SECONDS}, for an emulated guest",
    )
    parser.add_argument(
        "--actions",
        nargs="*",
        choices=list(ACTIONS),
        default=list(ACTIONS),
        metavar="ACTION",
        help=f"what is done to a server of Nova; default: {' '.join(ACTIONS)}",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    cloud = openstack.connect(cloud=options.cloud)
    offered = {service["type"] for service in cloud.service_catalog}
    if lacking := sorted({*_NEEDED} - offered):
        raise AcceptanceError(f"cloud {options.cloud} has no {' and no '.join(lacking)} service")
    missing = sorted({*_TO_BOOT_THERE} - offered)
    image = images.load(options.image.absolute())
    name = f"heat-config-zaqar-{uuid.uuid4().hex[:8]}"
    say = _clock()
    print(f"should this be killed: {_removal(options.cloud, name)}", flush=True)
    with _removed(cloud, options, name, say):
        if missing:
            say(f"left out, the cloud has no {', '.join(missing)}: the upload and Nova's server")
            _check_here(cloud, name, image, options.timeout, say)
        else:
            _check_there(cloud, name, image, options, say)
    print("accepted; everything is deleted again")
    return 0


def _clock() -> _Say:
    begun = time.monotonic()
    return lambda text: print(f"{time.monotonic() - begun:6.0f} s  {text}", flush=True)


def _check_there(
    cloud: Connection, name: str, image: images.Image, options: argparse.Namespace, say: _Say
) -> None:
    if not image.partitioned:
        raise AcceptanceError(f"{image.qcow2} is one file system: Nova boots partitioned images")
    say(f"uploading {image.qcow2} as {name}")
    cloud.create_image(
        name, filename=str(image.qcow2), disk_format="qcow2", container_format="bare", wait=True
    )
    server = {"image": name, "flavor": options.flavor, "networks": [{"network": options.network}]}
    trial = Trial(cloud, _heat(cloud), name, server, options.timeout, say)
    trial.begin()
    trial.created()
    trial.deploy("update")
    for action in options.actions:
        trial.run(action)
    trial.delete()


def _check_here(
    cloud: Connection, name: str, image: images.Image, timeout: float, say: _Say
) -> None:
    if image.tar is None:
        raise AcceptanceError("the image was built without a tar, from which it is booted here")
    trial = Trial(cloud, _heat(cloud), name, None, timeout, say)
    trial.begin()
    metadata = trial.heat.server_metadata_when_ready(name)
    root = unpack(image.tar, image.tar.parent / "unpacked")
    with (
        tempfile.TemporaryDirectory() as scratch,
        container(root, Path(scratch) / "guest", metadata),
    ):
        trial.created()
        trial.deploy("update")
        trial.delete()


def _heat(cloud: Connection) -> Heat:
    return Heat(cloud.session, cloud.config.region_name)


@contextmanager
def _removed(
    cloud: Connection, options: argparse.Namespace, name: str, say: _Say
) -> Iterator[None]:
    """Delete everything of a run at the end; a second signal ends that, and says what is left."""
    try:
        yield
    finally:
        say("deleting everything")
        try:
            _remove(cloud, name, options.timeout, say)
        except BaseException:
            print(
                f"acceptance: not all is deleted; this does it: {_removal(options.cloud, name)}",
                file=sys.stderr,
            )
            raise


def _removal(cloud: str, name: str) -> str:
    return f"python -m testbed.acceptance --cloud {cloud} --remove {name}"


def _remove_all(options: argparse.Namespace) -> int:
    cloud = openstack.connect(cloud=options.cloud)
    _remove(cloud, options.remove, options.timeout, _clock())
    print(f"nothing of {options.remove} is left")
    return 0


def _remove(cloud: Connection, name: str, timeout: float, say: _Say) -> None:
    heat = _heat(cloud)
    for stack in [stack for stack in heat.names() if stack.startswith(name)]:
        say(f"deleting stack {stack}")
        _delete_without_guests(heat, stack, timeout)
    if "image" in {service["type"] for service in cloud.service_catalog}:
        for image in [image for image in cloud.image.images() if image.name.startswith(name)]:
            say(f"deleting image {image.name}")
            cloud.delete_image(image.id, wait=True)


def _delete_without_guests(heat: Heat, stack: str, timeout: float) -> None:
    """Delete a stack whose guest may be the reason for this end: signal in the guest's place."""

    def signal_farewell() -> None:
        with contextlib.suppress(NotFound):
            if heat.resource_statuses(stack).get(FAREWELL) == "DELETE_IN_PROGRESS":
                heat.signal(stack, FAREWELL, {"deploy_status_code": 0})

    heat.delete_stack(stack, timeout=timeout, meanwhile=signal_farewell)


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Have signals that end a process raise, so that what is open is left as at any end."""
    before = {number: signal.signal(number, _raise) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    raise _SignalledError(f"ended by {signal.Signals(number).name}")


if __name__ == "__main__":
    sys.exit(main())
