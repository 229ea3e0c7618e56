"""The cloud's command line: `python -m testbed.cloud up`."""

import argparse
import json
import sys
from pathlib import Path

from testbed.cloud import Cloud, CloudError
from testbed.isolated import has_bridge

_BUILD = Path(__file__).resolve().parents[2] / "build"


def main() -> int:
    """Run one command; return 0, or 1 where it failed or `status` found a service down."""
    arguments = _parser().parse_args()
    with_nova = arguments.command in ("up", "install") and arguments.nova
    cloud = Cloud(
        arguments.directory, arguments.token_lifetime, arguments.venv, with_nova=with_nova
    )
    try:
        return _run(cloud, arguments)
    except CloudError as error:
        print(f"cloud: {error}", file=sys.stderr)
        return 1


def _run(cloud: Cloud, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "up":
            cloud.up(_report)
            print(f"the cloud is up; log in at {cloud.auth_url}, logs are in {cloud.log_directory}")
            print(f"OS_CLIENT_CONFIG_FILE={cloud.clouds_yaml} has the entries demo and admin")
        case "install":
            cloud.install(print)
        case "down":
            cloud.down()
        case "start":
            cloud.start(arguments.service)
        case "stop":
            cloud.stop(arguments.service)
        case "status":
            return _print_status(cloud.status(), arguments.json)
    return 0


def _report(message: str) -> None:
    # One write with its line end: the steps report from several threads.
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def _print_status(status: dict[str, bool], as_json: bool) -> int:
    if as_json:
        print(json.dumps(status, indent=2))
    else:
        for name, up in status.items():
            print(f"{name:16} {'up' if up else 'down'}")
    return 0 if all(status.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed.cloud", description=__doc__)
    parser.add_argument(
        "--directory",
        type=Path,
        default=_BUILD / ("cloud-on-bridge" if has_bridge() else "cloud"),
        help="default: build/cloud, or build/cloud-on-bridge where the guests' bridge is",
    )
    parser.add_argument(
        "--venv",
        type=Path,
        default=_BUILD / "cloud-venv",
        help="the services' environment; default: build/cloud-venv",
    )
    parser.add_argument(
        "--token-lifetime", type=int, default=3600, metavar="SECONDS", help="default: 3600"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start what is not up and wait until all answers")
    install = commands.add_parser("install", help="install the services; start nothing")
    for command in (up, install):
        command.add_argument(
            "--nova", action="store_true", help="with Placement, Glance, Neutron and Nova"
        )
    commands.add_parser("down", help="stop everything that up or start started")
    status = commands.add_parser("status", help="say which services answer")
    status.add_argument("--json", action="store_true")
    for name in ("stop", "start"):
        commands.add_parser(name, help=f"{name} one service").add_argument("service")
    return parser


if __name__ == "__main__":
    sys.exit(main())
