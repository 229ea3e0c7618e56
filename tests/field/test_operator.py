"""The built image, as Nova boots it, under an operator's hands."""

import pytest

from testbed.cloud import Cloud
from testbed.operator_actions import ACTIONS
from tests.field.conftest import Start

TIMEOUT_SECONDS = 2700
ALL_SECONDS = 3 * 3600


@pytest.mark.timeout(ALL_SECONDS)
def test_the_image_deploys_before_and_after_everything_that_an_operator_does(
    cloud_with_nova: Cloud, acceptance: Start, pytestconfig: pytest.Config
) -> None:
    assert cloud_with_nova
    image = str(pytestconfig.getoption("--image"))
    process = acceptance("--image", image, "--timeout", str(TIMEOUT_SECONDS))
    assert process.stdout and process.stderr
    output = ""
    # An hour is watched by its lines, not by what is left of them at its end.
    for line in process.stdout:
        print(line, end="", flush=True)
        output += line
    errors = process.stderr.read()
    assert process.wait() == 0, errors
    for action in ACTIONS:
        assert f"action {action}\n" in output
