"""A short run of tests/chaos, always the same one; `tox -e chaos` makes long ones."""

import subprocess
import sys

from testbed.cloud import Cloud

# One whose servers have every transport of metadata.
SEED = 8


def test_guests_that_are_killed_at_any_step_lose_and_repeat_nothing(cloud: Cloud) -> None:
    assert cloud.status()["zaqar"]
    options = ["--seed", str(SEED), "--histories", "8", "--kills", "40", "--guests", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *options, "--outages", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 double, 0 stale, 0 other" in done.stdout
