"""Snapshots and outputs that once broke the guest, or look as if they might, by what they are."""

from collections.abc import Mapping
from typing import Any

from tests.fuzz.cloud import SECTION
from tests.fuzz.hostile import NEIGHBOURS_GROUP, Case, good_deployment


def _beside_a_neighbour(
    transport: str = "ZAQAR_SIGNAL",
    hook: bytes = b"{}",
    inputs: Mapping[str, Any] | None = None,
    section: Mapping[str, Any] | None = None,
    snapshot: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Case:
    """One deployment that is in order but for what the arguments say, and its neighbour."""
    made = {**good_deployment("hostile", transport), **changes}
    for item in made["inputs"] if inputs else ():
        item["value"] = inputs.get(item["name"], item["value"]) if inputs else ""
    made = {key: value for key, value in made.items() if value is not ...}
    neighbour = {**good_deployment("neighbour", transport), "group": NEIGHBOURS_GROUP}
    body = {"deployments": [made, neighbour], "os-collect-config": {**SECTION, **(section or {})}}
    return Case({**body, **(snapshot or {})}, [(hook, 0)], ["neighbour"])


def _deep(levels: int) -> Any:
    made: Any = "x"
    for _ in range(levels):
        made = [made]
    return made


_HALF = b'{"answer": "\\ud800"}'
_LARGE = b'{"answer": 1180591620717411303424}'
_NO_NUMBER = b'{"answer": NaN, "more": [Infinity, -Infinity, -0.0, 1e400]}'
_STRUCTURED: dict[str, Any] = {"group": "os-apply-config", "config": {"a": 1}}

EXAMPLES: dict[str, Case] = {
    "nothing is wrong": _beside_a_neighbour(),
    "an output with half a character": _beside_a_neighbour(hook=_HALF),
    "an output of 2**70": _beside_a_neighbour(hook=_LARGE),
    "an output that is no number, to Zaqar": _beside_a_neighbour(hook=_NO_NUMBER),
    "an output that is no number, to Heat": _beside_a_neighbour("HEAT_SIGNAL", _NO_NUMBER),
    "an output with half a character, to Heat": _beside_a_neighbour("HEAT_SIGNAL", _HALF),
    "an output with half a character, to CFN": _beside_a_neighbour("CFN_SIGNAL", _HALF),
    "an output of 300,000 characters": _beside_a_neighbour(
        hook=b'{"answer": "' + b"x" * 300_000 + b'"}'
    ),
    "a signal URL without a scheme": _beside_a_neighbour(
        "CFN_SIGNAL", inputs={"deploy_signal_id": "cloud.test/signal/x"}
    ),
    "a signal URL of half an address": _beside_a_neighbour(
        "CFN_SIGNAL", inputs={"deploy_signal_id": "http://[::1"}
    ),
    "a signal URL of a host that is away": _beside_a_neighbour(
        "TEMP_URL_SIGNAL", inputs={"deploy_signal_id": "http://away.test/x"}
    ),
    "a signal queue without a name": _beside_a_neighbour(inputs={"deploy_queue_id": ""}),
    "a signal queue with a slash": _beside_a_neighbour(inputs={"deploy_queue_id": "a/b"}),
    "a password of half a character": _beside_a_neighbour(
        "HEAT_SIGNAL", inputs={"deploy_password": "\ud800"}
    ),
    "a login of nobody, to Heat": _beside_a_neighbour(
        "HEAT_SIGNAL", inputs={"deploy_user_id": "nobody"}
    ),
    "a login of nobody, to Zaqar": _beside_a_neighbour(inputs={"deploy_user_id": "nobody"}),
    "a login at no address": _beside_a_neighbour(
        "HEAT_SIGNAL", inputs={"deploy_auth_url": "http://[::1"}
    ),
    "a name with a slash": _beside_a_neighbour(name="app/install"),
    "a name with a dot": _beside_a_neighbour(name=".setup"),
    "a name of 201 characters": _beside_a_neighbour(name="x" * 201),
    "a name that is empty": _beside_a_neighbour(name=""),
    "a name of half a character": _beside_a_neighbour(name="\ud800"),
    "a name of control characters": _beside_a_neighbour(name="\0\x1b[2J\n"),
    "a name of 90 CJK characters": _beside_a_neighbour(name="漢" * 90),
    "a structured deployment with a name of 90 CJK characters": _beside_a_neighbour(
        name="漢" * 90, **_STRUCTURED
    ),
    "a structured deployment with a name of half a character": _beside_a_neighbour(
        name="\ud800", **_STRUCTURED
    ),
    "a structured deployment named zaqar": _beside_a_neighbour(name="zaqar", **_STRUCTURED),
    "a structured deployment named os_config_files": _beside_a_neighbour(
        name="os_config_files", **_STRUCTURED
    ),
    "a structured deployment that brings a list of deployments": _beside_a_neighbour(
        group="os-apply-config", config={"deployments": None}
    ),
    "an Ungrouped deployment without a config": _beside_a_neighbour(group=..., config=...),
    "an id with a slash": _beside_a_neighbour(id="../../etc/x"),
    "an id of 300 characters": _beside_a_neighbour(id="x" * 300),
    "an id of half a character": _beside_a_neighbour(id="\ud800"),
    "a group of 300 characters": _beside_a_neighbour(group="x" * 300),
    "a group that is a list": _beside_a_neighbour(group=["script"]),
    "a config nested 88 levels deep": _beside_a_neighbour(config=_deep(88)),
    "a config nested 89 levels deep": _beside_a_neighbour(config=_deep(89)),
    "a config nested 100 levels deep": _beside_a_neighbour(config=_deep(100)),
    "a creation time that is a number": _beside_a_neighbour(creation_time=2**70),
    "an option that is no number": _beside_a_neighbour(options={"x": float("nan")}),
    "a resource named what?, to Heat": _beside_a_neighbour(
        "HEAT_SIGNAL", inputs={"deploy_resource_name": "what?"}
    ),
    "a resource named a#1, to Heat": _beside_a_neighbour(
        "HEAT_SIGNAL", inputs={"deploy_resource_name": "a#1"}
    ),
    "a section with an option of no name": _beside_a_neighbour(section={"": 1}),
    "a section with an option of two lines": _beside_a_neighbour(section={"x": "a\nb"}),
    "a section with half a character": _beside_a_neighbour(section={"x": "\ud800"}),
    "a section nested 89 levels deep": _beside_a_neighbour(section={"x": _deep(88)}),
    "a section nested 500 levels deep": _beside_a_neighbour(section={"x": _deep(499)}),
    "metadata nested 89 levels deep": _beside_a_neighbour(snapshot={"x": _deep(89)}),
    "metadata nested 90 levels deep": _beside_a_neighbour(snapshot={"x": _deep(90)}),
    "metadata nested 500 levels deep": _beside_a_neighbour(snapshot={"x": _deep(500)}),
    "metadata without deployments": Case({"hello": 1, "os-collect-config": SECTION}),
    "deployments that are no maps": Case(
        {"deployments": [None, 1, "x", [], {}], "os-collect-config": SECTION}
    ),
}
for _name, _inputs in {
    "inputs that are a map": {"a": 1},
    "inputs that are no list": "x",
    "inputs without names": [{"value": 1}],
}.items():
    EXAMPLES[_name] = _beside_a_neighbour()
    EXAMPLES[_name].snapshot["deployments"][0]["inputs"] = _inputs

# What a hook prints, and its exit code.
PRINTED: dict[str, tuple[bytes, int]] = {
    "a hook that fails and prints the status code 0": (b'{"deploy_status_code": "0"}', 1),
    "a hook that fails and prints nothing": (b"", 255),
    "a hook that is killed": (b'{"deploy_status_code": 0}', -9),
}
