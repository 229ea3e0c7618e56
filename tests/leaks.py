"""Looks for secrets where none may be, after a scenario."""

import contextlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

PLANTED = "planted-s3cret-!@#%^&*"
_PLANTED_INPUT = "api_key"


def plant(template: dict[str, Any]) -> dict[str, Any]:
    """Give each deployment of a template a secret input, and return the template."""
    for resource in template["resources"].values():
        properties = resource["properties"]
        if "inputs" in properties:
            properties["inputs"].append({"name": _PLANTED_INPUT})
        if "input_values" in properties:
            properties["input_values"][_PLANTED_INPUT] = PLANTED
    return template


def secrets_of_metadata(snapshot: Mapping[str, Any]) -> set[str]:
    """Return the passwords and pre-signed URLs in a server's metadata, and the planted value."""
    collectors = snapshot.get("os-collect-config", {})
    found = {
        PLANTED,
        collectors.get("zaqar", {}).get("password", ""),
        collectors.get("heat", {}).get("password", ""),
    }
    for deployment in snapshot.get("deployments", []):
        for item in deployment["inputs"]:
            if item["name"] in ("deploy_password", "deploy_signal_id") and item.get("value"):
                found.add(item["value"])
    return found - {""}


def tokens_below(directory: Path) -> set[str]:
    """Return the Keystone tokens that a guest keeps."""
    found = set()
    for path in directory.glob("*.json"):
        found.add(json.loads(json.loads(path.read_text()))["auth_token"])
    return found


def command_lines() -> set[str]:
    """Return the command line of each process that this one sees."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def assert_absent(secrets: Collection[str], text: str, where: str) -> None:
    """Fail where a text holds a secret; the message names the place and not the secret."""
    for secret in secrets:
        # As a log or a command line shows it, and as JSON does.
        for shape in (secret, json.dumps(secret)[1:-1]):
            at = text.find(shape)
            assert at < 0, f"a secret is in {where}: …{text[max(at - 80, 0) : at]!r}"


def assert_files_closed(secrets: Collection[str], root: Path) -> None:
    """Fail where a file that others than its owner may read holds a secret."""
    shapes = {shape.encode() for secret in secrets for shape in (secret, json.dumps(secret)[1:-1])}
    for path in (Path(place, name) for place, _, names in os.walk(root) for name in names):
        # A guest that runs renames and removes files.
        with contextlib.suppress(FileNotFoundError):
            if path.is_symlink() or not path.is_file() or not path.stat().st_mode & 0o077:
                continue
            content = path.read_bytes()
            has_secret = any(shape in content for shape in shapes)
            assert not has_secret, f"a secret is in {path}, mode {path.stat().st_mode & 0o777:o}"
