"""What os-collect-config imports for sources that a guest does not have."""

import subprocess
import sys

import pytest

LIBRARIES = ("heatclient", "keystoneclient", "lxml", "jsonschema", "charset_normalizer")
LAUNCH = "import sys; from heat_config_zaqar.collect import launcher; "


def run(text: str) -> str:
    """Run Python text in an interpreter of its own; return what it prints."""
    command = [sys.executable, "-c", text]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_collector_starts_without_the_libraries_of_other_sources() -> None:
    files = "[name for name in sys.modules if getattr(sys.modules[name], '__file__', None)]"
    loaded = run(f"{LAUNCH}print(*{files})").split()
    assert "os_collect_config.heat" in loaded
    assert not [name for name in loaded if name.partition(".")[0] in LIBRARIES]


@pytest.mark.parametrize(
    ("use", "found"),
    [
        ("from os_collect_config import cfn; print(cfn.etree.fromstring('<a/>').tag)", "a"),
        ("from os_collect_config import cfn; print(cfn.ec2_utils.Ec2Signer('k').__module__)",
         "keystoneclient.contrib.ec2.utils"),
        ("from os_collect_config import heat; print(heat.keystoneclient.Client.__module__)",
         "keystoneclient.v3.client"),
        ("from os_collect_config import heat; print(heat.heatclient.Client.__module__)",
         "heatclient.client"),
        ("from os_collect_config import keystone; print(keystone.ks_exc.NotFound.__name__)",
         "NotFound"),
        ("import jsonschema; print(jsonschema.validate.__module__)", "jsonschema.validators"),
        ("import requests; answer = requests.Response(); "
         "answer._content = 'Grüße aus Köln'.encode(); print(answer.apparent_encoding)", "utf-8"),
    ],
)  # fmt: skip
def test_a_source_that_uses_its_library_has_it(use: str, found: str) -> None:
    assert run(LAUNCH + use) == found


def test_a_library_that_comes_late_is_nothing_to_warn_of() -> None:
    command = [sys.executable, "-c", LAUNCH]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""


def test_a_library_that_is_there_already_stays() -> None:
    kept = "import lxml.etree as first; from heat_config_zaqar.collect import launcher; "
    assert run(f"{kept}import lxml.etree; print(lxml.etree is first)") == "True"


def test_a_stand_in_has_no_attributes_but_the_librarys() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run(f"{LAUNCH}import lxml.etree; lxml.etree.nothing_of_the_kind")
