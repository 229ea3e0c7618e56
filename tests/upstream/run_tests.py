"""Runs unit tests of upstream's, each on a guest without state; a program of its own.

`python run_tests.py MODULE…` prints a map: each test's id to why it failed, empty where it passed.
"""

import contextlib
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

SETTINGS_VARIABLE = "HEAT_CONFIG_ZAQAR_SETTINGS"
DIRECTORIES = ("state_dir", "runtime_dir", "working_dir")


class Results(unittest.TestResult):
    """Notes what came of each test."""

    def __init__(self, scratch: Path) -> None:
        super().__init__()
        self._scratch = scratch
        self.found: dict[str, str] = {}

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 # unittest calls it so
        super().startTest(test)
        self.found[test.id()] = ""
        lines = [f'{name} = "{self._scratch}/{test.id()}/{name}"\n' for name in DIRECTORIES]
        # Upstream's command knows no other state of a guest than that it has metadata.
        collected = self._scratch / test.id() / "runtime_dir" / "collected"
        collected.parent.mkdir(parents=True)
        collected.write_text("0")
        Path(os.environ[SETTINGS_VARIABLE]).write_text("".join(lines))
        if test.id().startswith("os_collect_config."):
            import our_collector  # type: ignore[import-not-found]  # beside this file

            our_collector.put_in()

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self.found[test.id()] += self.errors[-1][1]

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self.found[test.id()] += self.failures[-1][1]

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self.found[test.id()] += f"skipped: {reason}"


def main() -> None:
    """Run the modules of the command line."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[SETTINGS_VARIABLE] = f"{scratch}/settings.toml"
        sys.path.insert(0, str(Path.cwd()))
        results = Results(Path(scratch))
        with contextlib.redirect_stdout(sys.stderr):
            unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:]).run(results)
    print(json.dumps(results.found, indent=1))


if __name__ == "__main__":
    main()
