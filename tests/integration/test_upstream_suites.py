"""heat-agents' and os-collect-config's own tests, run with our commands in upstream's place.

heat-agents' come from its source distribution (`requirements/heat-agents.txt`), os-collect-config's
from the package that is installed here as in the guest. What they import beside that is in
`build/upstream-suites`. Invariant: what differs is listed with its reason in
`tests/upstream/expected.toml`, and counted in `docs/migration.md`.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import os_collect_config
import pytest

from testbed.isolated import require_isolation
from tests.conftest import BUILD
from tests.integration.guest_process import SCRIPTS

UPSTREAM = Path(__file__).resolve().parents[1] / "upstream"
MIGRATION = UPSTREAM.parents[1] / "docs/migration.md"
HEAT_AGENTS = ("test_heat_config", "test_heat_config_notify", "test_hook_script")
OS_COLLECT_CONFIG = Path(os_collect_config.__file__).parent / "tests"
# The prefix of the tests' ids in each suite, as docs/migration.md names it.
SUITES = {
    **{f"heat-agents 13.0.0, `{name}`": f"tests.{name}." for name in HEAT_AGENTS},
    f"os-collect-config {version('os-collect-config')}": "os_collect_config.",
}


def run(modules: Iterable[str], directory: Path) -> dict[str, str]:
    """Run upstream's test modules in a directory; return what each test failed with, or ""."""
    done = subprocess.run(
        [sys.executable, UPSTREAM / "run_tests.py", *modules],
        cwd=directory,
        # Debian's cloud images have this locale.
        env=os.environ
        | {
            "PYTHONPATH": f"{BUILD / 'upstream-suites'}:{os.environ.get('PYTHONPATH', '')}",
            "LANG": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout)
    return outcomes


def heat_agents_with_our_commands(directory: Path) -> Path:
    """Unpack heat-agents and put ours where its tests look for its programs."""
    (archive,) = (BUILD / "heat-agents").glob("heat_agents-*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(directory)  # noqa: S202 # its hash was checked
    (root,) = directory.iterdir()
    program = root / "heat-config/os-refresh-config/configure.d/55-heat-config"
    program.write_text(f"#!{sys.executable}\n{(UPSTREAM / 'heat_config.py').read_text()}")
    hook = root / "heat-config-script/install.d/hook-script.py"
    hook.unlink()
    hook.symlink_to(SCRIPTS / "heat-config-zaqar-script-hook")
    shutil.copy(UPSTREAM / "heat_config_notify.py", root / "tests")
    return root


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each of upstream's tests failed with; empty where it passed."""
    require_isolation()
    heat_agents = heat_agents_with_our_commands(tmp_path_factory.mktemp("heat-agents"))
    modules = [f"os_collect_config.tests.{path.stem}" for path in OS_COLLECT_CONFIG.glob("test_*")]
    return {
        **run([f"tests.{name}" for name in HEAT_AGENTS], heat_agents),
        **run(sorted(modules), tmp_path_factory.mktemp("os-collect-config")),
    }


def test_upstreams_own_tests_fail_only_where_we_are_known_to_differ(
    outcomes: dict[str, str],
) -> None:
    expected = tomllib.loads((UPSTREAM / "expected.toml").read_text())
    failed = {name: text for name, text in outcomes.items() if text}
    assert {name: failed[name] for name in failed.keys() - expected.keys()} == {}, "not listed"
    assert sorted(expected.keys() - failed.keys()) == [], "listed, but passes or is not there"
    for name, difference in expected.items():
        assert difference["shows"] in failed[name], f"{name} does not fail as it is listed"
        assert difference["reason"]


@pytest.mark.parametrize("suite", SUITES)
def test_the_documentation_counts_what_passes_and_what_differs(
    suite: str, outcomes: dict[str, str]
) -> None:
    found = [text for name, text in outcomes.items() if name.startswith(SUITES[suite])]
    passed = found.count("")
    assert f"\n| {suite} | {passed} | {len(found) - passed} |\n" in MIGRATION.read_text()
