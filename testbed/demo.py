"""The main job, shown: an image, a cloud, a guest, a stack, and how long each part took.

Invariant: everything shown was measured in this run; the cloud and the guest run isolated and are
gone at the end, the image stays.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

from keystoneauth1.exceptions import ClientException

from testbed import image as images
from testbed.cloud import Cloud, CloudError
from testbed.guest import Container, GuestError, container, unpack
from testbed.heat import Heat, HeatError, Script, Stack, deployments_template
from testbed.isolated import is_isolated

BUILD = Path(__file__).resolve().parents[1] / "build"
STACK = "demo"
_EXPECTED = (
    *(images.ImageError, CloudError, GuestError, HeatError),
    *(ClientException, subprocess.CalledProcessError),
)
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
        pipeline = textwrap.indent(image.command_line, "    ")
        print(f"\nThe image: {image.qcow2}\nIn a pipeline, in a copy of this tree:\n{pipeline}")
        status = 0 if options.step == "image" else _show_isolated(options.started, progress)
        progress("all done, with the installation of what was missing")
        return status
    except _EXPECTED as error:
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
    cloud = Cloud(BUILD / "cloud", costly_passwords=True)
    progress("starting Keystone, Zaqar and Heat")
    try:
        cloud.up(progress)
        heat = Heat(cloud.admin_session())
        heat.delete_stack(STACK)
        progress(f"creating a stack with a server and the deployments {', '.join(SCRIPTS)}")
        heat.create_stack(STACK, deployments_template(SCRIPTS))
        metadata = heat.server_metadata_when_ready(STACK)
        progress("booting the image as that server")
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
    booted = time.time()
    progress("the guest runs")
    ended = _completions(heat, booted + 120)
    stack = heat.wait_for(STACK, ["CREATE_COMPLETE"], 60)
    progress(f"the stack is {stack.status}")
    print(_table(stack, booted, ended, _records(guest)))
    heat.delete_stack(STACK)
    progress("the stack is deleted")
    return 0


def _completions(heat: Heat, deadline: float) -> dict[str, float]:
    """Return when each deployment was first seen complete or failed."""
    ended: dict[str, float] = {}
    while len(ended) < len(SCRIPTS):
        if time.time() > deadline:
            raise HeatError(f"only {sorted(ended)} of {sorted(SCRIPTS)} ended within 120 s")
        for name, status in heat.resource_statuses(STACK).items():
            if name in SCRIPTS and status in ("CREATE_COMPLETE", "CREATE_FAILED"):
                ended.setdefault(name, time.time())
        time.sleep(0.1)
    return ended


def _records(guest: Container) -> dict[str, dict[str, Any]]:
    # Heat may have a signal before the guest has noted that. And where Heat's messages came out of
    # order, what is over already may count as earlier until the next one.
    command = ("heat-config-zaqar", "status", "--wait", "30", "--all", "--json")
    shown = json.loads(guest.run(*command).stdout)
    return {record["name"]: record for record in shown["deployments"]}


def _table(
    stack: Stack, booted: float, ended: dict[str, float], records: dict[str, dict[str, Any]]
) -> str:
    """Return the table of deployments.

    Heat posted them before the guest ran, so its seconds are since the guest ran; Heat itself
    looks into a signal queue once a second.
    """
    head = ("deployment", "code", "hook after", "ended", "signalled", "in Heat", "output")
    lines: list[tuple[str, ...]] = [head]
    for name, record in sorted(records.items(), key=lambda item: item[1]["started"]):
        times = (record["started"], record["finished"], record["settled"], ended[name])
        seconds = [f"{moment - booted:.1f} s" for moment in times]
        lines.append((name, str(record["status_code"]), *seconds, _output(stack, name)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(["", *rows, ""])


def _output(stack: Stack, name: str) -> str:
    named = [f"{name}_{output}" for output in SCRIPTS[name].outputs]
    text = str(stack.outputs[(named or [f"{name}_deploy_stdout"])[0]])
    return text if len(text) <= 40 else f"{len(text)} characters, the last are {text[-9:]!r}"


if __name__ == "__main__":
    sys.exit(main())
