"""Runs the coverage-guided fuzzer on parsers and on the whole guest: `tox -e fuzz -- --inputs N`.

An input that breaks a target is kept in build/fuzz and printed; it becomes a test of the unit
tests and a seed here. With a file as argument, tries that input again.
"""

import argparse
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["heat_config_zaqar"]):
    from tests.fuzz.targets import TARGETS, a_guest

_BUILD = Path(__file__).resolve().parents[2] / "build" / "fuzz"
# What each target gets of a million: a chain takes a hundred times as long as a parser.
_SHARES = {
    "metadata": 0.2,
    "hook_output": 0.2,
    "message": 0.1,
    "settings_file": 0.05,
    "state_file": 0.05,
    "rendered": 0.25,
    "signal": 0.13,
    "chain": 0.02,
}
_DEEP = b"[" * 600 + b"]" * 600
_SEEDS = {
    "message": (
        b'{"deployments": [{"id": "a", "inputs": [{"name": "deploy_queue_id"}]}]}',
        b'{"deployments": [{"id": "a", "config": ' + _DEEP + b"}]}",
    ),
    "hook_output": (
        b'\x80{"deploy_stdout": "x", "deploy_status_code": 0}',
        b'\x80{"a": ' + _DEEP + b"}",
    ),
    "settings_file": (b'push = true\nmax_attempts = 3\nstate_dir = "/x"\n',),
    "state_file": (b'{"id": "x", "transport": "NO_SIGNAL", "credentials": null, "body": {}}',),
    "metadata": (bytes(range(64)),),
    "rendered": (bytes(range(64)), bytes(64)),
    "signal": (bytes(range(64)), b"\0\0\0\1"),
    "chain": (bytes(range(64)), bytes(range(255, 128, -1)), bytes(64)),
}


def main() -> int:
    """Fuzz all targets, or one; return 0 where nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for all targets together")
    parser.add_argument("--target", choices=sorted(TARGETS), help="fuzz in this process")
    parser.add_argument("file", nargs="?", type=Path, help="an input to try again")
    options = parser.parse_args()
    if options.target and options.file:
        with a_guest():
            TARGETS[options.target](options.file.read_bytes())
        return 0
    if options.target:
        _fuzz(options.target, options.inputs)
    began = time.monotonic()
    totals = {name: _run(name, int(options.inputs * share)) for name, share in _SHARES.items()}
    broken = [name for name, done in totals.items() if done is None]
    tried = sum(filter(None, totals.values()))
    print(
        f"fuzz: {tried} inputs in {time.monotonic() - began:.0f} s, broken: {broken or 'nothing'}"
    )
    return 1 if broken else 0


def _run(target: str, inputs: int) -> int | None:
    """Fuzz one target in a process of its own; return how many inputs it got, None if one broke."""
    corpus = _BUILD / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(_SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz", "--target", target, "--inputs", str(inputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Done (\d+) (?:runs )?in", done.stderr)
    if done.returncode != 0 or not found:
        print(
            f"fuzz: {target} broke; the input is in {_BUILD}:\n{done.stdout}\n{done.stderr[-6000:]}"
        )
        return None
    cover = re.findall(r"cov: (\d+)", done.stderr)
    print(f"fuzz: {target}: {found[1]} inputs, {cover[-1] if cover else '?'} edges", flush=True)
    return int(found[1])


def _fuzz(target: str, inputs: int) -> None:
    """Hand this process to the fuzzer, which ends it."""
    # What it says of each bad input is not for people; the chain keeps it for a failure's reason.
    logging.getLogger().addHandler(logging.NullHandler())
    arguments = [f"-runs={inputs}", "-max_len=4096", "-timeout=60", "-rss_limit_mb=2048"]
    arguments += [f"-artifact_prefix={_BUILD}/{target}-", str(_BUILD / target)]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[target])
    with a_guest():
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
