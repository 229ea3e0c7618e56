"""Takes out one fix after the other and says which test notices: `tox -e mutations`.

Each mutation is a piece of the product, what it would be without the fix, and the test that must
then fail. It is made in a copy of the tree; the test must pass on the product as it is.
Invariant: a mutation that no longer applies is a failure, so that the list cannot rot unseen.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutations import collect, deliver, ground, operate, run, state, wire
from tests.mutations.mutation import Mutation

_ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("hooks", "testbed", "tests", "pyproject.toml")
_TEST_SECONDS = 300
MUTATIONS = [
    mutation
    for room in (ground, state, wire, collect, deliver, run, operate)
    for mutation in room.MUTATIONS
]


def main() -> int:
    """Try the mutations whose name holds the argument; return 0 where each test noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("part", nargs="?", default="", help="of the names of mutations to try")
    chosen = [item for item in MUTATIONS if parser.parse_args().part in item.name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutations-") as directory:
        tree = _copy(Path(directory))
        # One run of all tests as they are: what fails anyway proves nothing.
        if failed := _failed(tree, sorted({item.node for item in chosen})):
            print(f"mutations: this fails on the product as it is: {failed}")
            return 1
        survivors = [item.name for item in chosen if not _noticed(tree, item)]
    print(
        f"mutations: {len(chosen) - len(survivors)} of {len(chosen)} noticed "
        f"in {time.monotonic() - began:.0f} s"
    )
    for name in survivors:
        print(f"mutations: nothing noticed: {name}")
    return 1 if survivors else 0


def _noticed(tree: Path, mutation: Mutation) -> bool:
    path = tree / "hooks" / "heat_config_zaqar" / mutation.file
    text = path.read_text()
    if text.count(mutation.fix) != 1:
        print(f"does not apply   {mutation.name}: its text is in {mutation.file} not once")
        return False
    path.write_text(text.replace(mutation.fix, mutation.without))
    try:
        noticed = bool(_failed(tree, [mutation.node]))
    finally:
        path.write_text(text)
    print(f"{'noticed' if noticed else 'SURVIVED':16} {mutation.name}", flush=True)
    return noticed


def _copy(directory: Path) -> Path:
    for name in _COPIED:
        source = _ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, directory / name, ignore=ignored)
        else:
            shutil.copy(source, directory)
    return directory


def _failed(tree: Path, tests: list[str]) -> str:
    """Run tests until one fails; return pytest's line about that one, empty for none."""
    environment = {**os.environ, "PYTHONPATH": f"{tree}:{tree / 'hooks'}"}
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_TEST_SECONDS} s"
    # 1: tests failed; 4 and 5: no such test, which proves nothing.
    if done.returncode not in (0, 1):
        raise SystemExit(f"mutations: pytest ended with {done.returncode}:\n{done.stdout}")
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0] if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
