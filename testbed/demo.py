"""The main job, shown: an image, a cloud, a guest, a stack, and how long each part took.

Invariant: everything shown was measured in this run; the cloud and the guest run isolated and are
gone at the end, the image stays.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from testbed import image as images
from testbed.cloud import Cloud, CloudError
from testbed.guest import Container, GuestError, container, unpack
from testbed.heat import Heat, HeatError, Script, Stack, deployments_template
from testbed.isolated import is_isolated

BUILD = Path(__file__).resolve().parents[1] / "build"
STACK = "demo"
SCRIPTS = {
    "greeting": Script(
        '#!/bin/sh\necho "hello $who from $(hostname)"\n'
        'printf %s "$(uname -sr)" >"$heat_outputs_path.kernel"\n',
        inputs={"who": "Heat"},
        outputs=("kernel",),
    ),
    "numbers": Script(
        '#!/bin/sh\nprintf %s "$((a * b))" >"$heat_outputs_path.product"\n',
        inputs={"a": 6, "b": 7},
        outputs=("product",),
    ),
    "log": Script("#!/bin/sh\nseq 1 1000\n"),
}


class Progress:
    """Prints a line for each step, with the seconds since the start."""

    def __init__(self, started: float) -> None:
        self._started = started

    def __call__(self, message: str) -> None:
        """Print one line."""
        print(f"[{time.time() - self._started:6.1f} s] {message}", flush=True)


def main() -> int:
    """Build the image and, without `image` on the command line, show it at work."""
    options = _parser().parse_args()
    progress = Progress(options.started)
    try:
        if options.step == "inside":
            return _show(progress)
        image = _build(options, progress)
        print(f"\nThe image: {image.qcow2}\nIn a pipeline:\n    {image.command_line}\n")
        return 0 if options.step == "image" else _show_isolated(options.started, progress)
    except (images.ImageError, CloudError, GuestError, HeatError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./demo", description=main.__doc__)
    parser.add_argument(
        "step", nargs="?", choices=("all", "image", "inside"), default="all", help="default: all"
    )
    parser.add_argument("--distribution", default="debian", help="default: debian")
    parser.add_argument("--release", default="bookworm", help="default: bookworm")
    parser.add_argument("--out", type=Path, default=BUILD / "demo" / "guest", help="no suffix")
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    return parser


def _build(options: argparse.Namespace, progress: Progress) -> images.Image:
    progress(f"building an image of {options.distribution} {options.release}")
    image = images.build(
        options.out.absolute(),
        distribution=options.distribution,
        release=options.release,
        progress=progress,
    )
    images.save(image, options.out.absolute())
    images.save(image, BUILD / "demo" / "last")
    kind = "a partitioned disk" if image.partitioned else "one file system"
    progress(f"the image is ready: {kind}, since {image.reason}")
    return image


def _show_isolated(started: float, progress: Progress) -> int:
    Cloud(BUILD / "cloud").install(progress)
    command = [sys.executable, "-m", "testbed.isolated", sys.executable, "-m", "testbed.demo"]
    command += ["inside", "--started", str(started)]
    root = [] if os.geteuid() == 0 else ["sudo", "--preserve-env=PATH"]
    return subprocess.run([*root, *command], check=False).returncode


def _show(progress: Progress) -> int:
    if not is_isolated():
        print("demo: this step is for the isolated part of the demo", file=sys.stderr)
        return 2
    image = images.load(BUILD / "demo" / "last")
    assert image.tar is not None
    cloud = Cloud(BUILD / "cloud")
    progress("starting Keystone, Zaqar and Heat")
    try:
        cloud.up(progress)
        heat = Heat(cloud.admin_session())
        heat.delete_stack(STACK)
        progress("creating a stack with a server, and booting the image as that server")
        heat.create_stack(STACK, deployments_template({}))
        metadata = heat.server_metadata_when_ready(STACK)
        root = unpack(image.tar, BUILD / "demo" / "unpacked")
        with (
            tempfile.TemporaryDirectory() as scratch,
            container(root, Path(scratch) / "guest", metadata) as guest,
        ):
            return _deploy(heat, guest, progress)
    finally:
        cloud.down()
        progress("the cloud is down")


def _deploy(heat: Heat, guest: Container, progress: Progress) -> int:
    progress(f"the guest runs; deploying {', '.join(SCRIPTS)} to it")
    posted = _Watch(heat, list(SCRIPTS))
    heat.update_stack(STACK, deployments_template(SCRIPTS))
    posted.until_complete(120)
    stack = heat.stack(STACK)
    records = _records(guest)
    progress(f"the stack is {stack.status}")
    print(_table(stack, posted, records))
    heat.delete_stack(STACK)
    progress("the stack is deleted")
    print("CREATE_COMPLETE" if posted.all_complete() else "FAILED")
    return 0 if posted.all_complete() else 1


@dataclasses.dataclass
class _Watch:
    """When each deployment was first seen in progress, and complete."""

    heat: Heat
    names: list[str]
    seen: dict[str, float] = dataclasses.field(default_factory=dict)
    ended: dict[str, float] = dataclasses.field(default_factory=dict)
    status: dict[str, str] = dataclasses.field(default_factory=dict)

    def until_complete(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while len(self.ended) < len(self.names):
            if time.monotonic() > deadline:
                raise HeatError(f"the deployments take over {seconds:.0f} s: {self.status}")
            self._look()
            time.sleep(0.1)
        self.heat.wait_for(STACK, ["UPDATE_COMPLETE", "UPDATE_FAILED"], 60)

    def all_complete(self) -> bool:
        return all(status == "CREATE_COMPLETE" for status in self.status.values())

    def _look(self) -> None:
        now = time.time()
        for name, status in self.heat.resource_statuses(STACK).items():
            if name in self.names and name not in self.ended:
                self.status[name] = status
                if status == "CREATE_IN_PROGRESS":
                    self.seen.setdefault(name, now)
                elif status.startswith("CREATE_"):
                    self.ended[name] = now


def _records(guest: Container) -> dict[str, dict[str, Any]]:
    shown = json.loads(guest.run("heat-config-zaqar", "status", "--json", check=True).stdout)
    return {record["name"]: record for record in shown}


def _table(stack: Stack, watch: _Watch, records: dict[str, dict[str, Any]]) -> str:
    """Return the table of deployments: seconds are since Heat showed the deployment."""
    lines = [
        "",
        "deployment  status           code  hook after  signal after  COMPLETE after  output",
    ]
    for name in watch.names:
        record, seen = records[name], watch.seen.get(name, watch.ended[name])
        times = [record["started"] - seen, record["settled"] - seen, watch.ended[name] - seen]
        outputs = [key for key in stack.outputs if key.startswith(f"{name}_")]
        named = [key for key in outputs if "_deploy_" not in key]
        value = str(stack.outputs[(named or [f"{name}_deploy_stdout"])[0]]).strip()
        shown = value if len(value) <= 30 else f"...{value[-27:]!r}"
        cells = [f"{seconds:.1f} s" for seconds in times]
        lines.append(
            f"{name:<11} {watch.status[name]:<16} {record['status code']!s:<5} "
            f"{cells[0]:<11} {cells[1]:<13} {cells[2]:<15} {shown}"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
