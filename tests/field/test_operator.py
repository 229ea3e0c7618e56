"""The built image, as Nova boots it, under an operator's hands."""

import pytest

from testbed.cloud import Cloud
from testbed.operator_actions import DEFAULT_ACTIONS
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
    output, errors = process.communicate(timeout=ALL_SECONDS)
    print(output)
    assert process.returncode == 0, errors
    for action in DEFAULT_ACTIONS:
        assert f"action {action}\n" in output
