"""OpenStack's own tests of Heat and Zaqar against the test cloud: `tox -e tempest`.

Invariant: a test that fails and is not listed, with a reason, in tests/field/tempest-expected.toml
fails the command; a listed one that passes is named, so that the list does not outlive its reasons.
"""

import argparse
import csv
import io
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import image as images
from testbed import isolated, tempest_image
from testbed.cloud import Cloud, CloudError
from testbed.cloud.configuration import Sections, ini
from testbed.cloud.layout import REGION, load_secrets, write_private

_REPOSITORY = Path(__file__).resolve().parent.parent
_BUILD = _REPOSITORY / "build"
EXPECTED = _REPOSITORY / "tests" / "field" / "tempest-expected.toml"
_TESTS = "^(heat|zaqar)_tempest_plugin"


@dataclass(frozen=True)
class Verdict:
    """What a run came to.

    `passed` and `skipped` are numbers; the others are tests' names: failures that are listed, with
    the reason, failures that are not, and tests that passed though they are listed.
    """

    passed: int
    skipped: int
    expected: Mapping[str, str]
    unexpected: Sequence[str]
    mended: Sequence[str]

    @property
    def good(self) -> bool:
        """Whether something ran, and nothing failed that is not listed."""
        return bool(self.passed) and not self.unexpected


def judge(results: Mapping[str, str], reasons: Mapping[str, str]) -> Verdict:
    """Judge a run.

    :param results: subunit's status by test: success, skip, fail and so on.
    :param reasons: why a test may fail, by a regular expression that its name begins with.
    """

    def reason(test: str) -> str | None:
        return next((reasons[known] for known in reasons if re.match(known, test)), None)

    failed = [test for test, status in results.items() if status not in ("success", "skip")]
    return Verdict(
        passed=sum(status == "success" for status in results.values()),
        skipped=sum(status == "skip" for status in results.values()),
        expected={test: why for test in failed if (why := reason(test))},
        unexpected=[test for test in failed if not reason(test)],
        mended=[test for test, status in results.items() if status == "success" and reason(test)],
    )


def expected(path: Path, *, with_nova: bool) -> dict[str, str]:
    """Return the listed reasons by test; an entry may be for clouds with or without Nova only.

    :raises KeyError: an entry has no test or no reason.
    """
    entries = tomllib.loads(path.read_text())["failure"]
    return {
        entry["test"]: entry["reason"]
        for entry in entries
        if entry.get("nova", with_nova) == with_nova
    }


def not_run(path: Path) -> dict[str, str]:
    """Return the scenarios that are not run with Nova, by their class, and why.

    :raises KeyError: an entry has no class or no reason.
    """
    return {item["scenario"]: item["reason"] for item in tomllib.loads(path.read_text())["not_run"]}


def main() -> int:
    """Run the tests; options that are not known here are `tempest run`'s."""
    parser = argparse.ArgumentParser(prog="python -m testbed.tempest", description=main.__doc__)
    parser.add_argument(
        "--nova",
        type=Path,
        metavar="IMAGE",
        help="with Nova, and what `python -m testbed.image --out` was given, for its servers",
    )
    options, rest = parser.parse_known_args()
    with_nova = options.nova is not None
    directory = _BUILD / ("cloud-on-bridge" if with_nova else "cloud")
    cloud = Cloud(directory, venv=_BUILD / "cloud-venv", with_nova=with_nova, costly_passwords=True)
    try:
        if not isolated.is_isolated():
            cloud.install(print)
            isolated.enter(
                [sys.executable, "-m", "testbed.tempest", *sys.argv[1:]], bridge=with_nova
            )
        image = images.load(options.nova.absolute()) if with_nova else None
        cloud.up(print)
        try:
            return _run(cloud, image, rest)
        finally:
            cloud.down()
    except (CloudError, images.ImageError) as error:
        print(f"tempest: {error}", file=sys.stderr)
        return 1


def _run(cloud: Cloud, image: images.Image | None, options: Sequence[str]) -> int:
    workspace = _BUILD / "tempest"
    (workspace / "etc").mkdir(parents=True, exist_ok=True)
    of_image = tempest_image.options(cloud, image, workspace) if image else {}
    environment = tempest_image.environment(image, workspace) if image else {}
    _prepare(workspace, _configuration(cloud, workspace, of_image))
    programs = str(Path(sys.executable).parent)
    selection = [] if {"--regex", "-r"} & {*options} else ["--regex", _TESTS]
    if not (workspace / ".stestr").exists():
        subprocess.run([f"{programs}/stestr", "init"], cwd=workspace, check=True)
    command = [f"{programs}/tempest", "run", "--concurrency", "2", *selection, *options]
    # Its exit code says less than what is judged below.
    subprocess.run(command, cwd=workspace, env={**os.environ, **environment}, check=False)
    last = _output([f"{programs}/stestr", "last", "--subunit"], workspace, b"")
    table = _output([f"{programs}/subunit2csv", "--no-passthrough"], workspace, last)
    verdict = judge(_results(table.decode()), expected(EXPECTED, with_nova=bool(image)))
    for scenario, why in not_run(EXPECTED).items() if image else ():
        print(f"not run: {scenario}: {why}")
    print(_report(verdict))
    return 0 if verdict.good else 1


def _output(command: Sequence[str], directory: Path, read: bytes) -> bytes:
    # Their exit codes say that a test failed.
    done = subprocess.run(command, cwd=directory, input=read, stdout=subprocess.PIPE, check=False)
    return done.stdout


def _results(table: str) -> dict[str, str]:
    return {row["test"]: row["status"] for row in csv.DictReader(io.StringIO(table))}


def _report(verdict: Verdict) -> str:
    lines = [f"expected to fail: {test}: {why}" for test, why in verdict.expected.items()]
    lines += [f"listed, but passed: {test}" for test in verdict.mended]
    lines += [f"FAILED: {test}" for test in verdict.unexpected]
    lines.append(
        f"{verdict.passed} passed, {len(verdict.unexpected)} failed, {verdict.skipped} skipped, "
        f"{len(verdict.expected)} failed as expected"
    )
    return "\n".join(lines)


def _prepare(workspace: Path, configuration: Sections) -> None:
    tests = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    write_private(workspace / "etc" / "tempest.conf", ini(configuration))
    stestr = {"test_path": tests / "tempest" / "test_discover", "top_dir": tests / "tempest"}
    (workspace / ".stestr.conf").write_text(ini({"DEFAULT": stestr}))


def _configuration(cloud: Cloud, workspace: Path, of_image: Mapping[str, object]) -> Sections:
    secrets = load_secrets(cloud.layout)
    admin = {
        "admin_username": "admin",
        "admin_password": secrets["admin"],
        "admin_project_name": "admin",
    }
    there = ("heat", "heat_plugin", "zaqar")
    absent = ("cinder", "swift", "horizon")
    nova = ("nova", "neutron", "glance")
    return {
        "DEFAULT": {"log_file": workspace / "tempest.log"},
        "oslo_concurrency": {"lock_path": workspace / "locks"},
        "auth": {
            **admin,
            "admin_domain_name": "Default",
            "tempest_roles": "member",
            # Zaqar's tests need no network of their own.
            "create_isolated_networks": False,
        },
        "identity": {
            "uri_v3": cloud.auth_url,
            "auth_version": "v3",
            "region": REGION,
            "v3_endpoint_type": "public",
        },
        "service_available": {
            **dict.fromkeys(there, True),
            **dict.fromkeys(absent, False),
            **dict.fromkeys(nova, bool(of_image)),
        },
        "heat_plugin": {
            **admin,
            "username": "demo",
            "password": secrets["demo"],
            "project_name": "demo",
            "auth_url": cloud.auth_url,
            "user_domain_id": "default",
            "project_domain_id": "default",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "region": REGION,
            "build_timeout": 900,
            "hidden_stack_tag": "data-processing-cluster",
            "skip_scenario_tests": not of_image,
            "skip_scenario_test_list": ",".join(not_run(EXPECTED)),
            **of_image,
        },
        "messaging": {"catalog_type": "messaging"},
    }


if __name__ == "__main__":
    sys.exit(main())
