"""Deployments as no template's author means them: a neighbour of each may not notice.

Heat makes some of them by itself (long physical names), an author's typo or script the others.
To add one, name it in `NEIGHBOURS` with what must come of it.
Invariant: the table says what Heat gets in the end; nothing here knows the product.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

# Who holds a URL with it may signal: no output may show it.
SIGNATURE = "c5e1a9SIGNATURE"


def _as_it_is(document: Document) -> None:
    del document


@dataclass(frozen=True)
class Hostile:
    """One kind.

    :ivar change: what is wrong with the metadata's document.
    :ivar prints: a key of `PRINTS`: what its hook prints beside its result.
    :ivar config_id: its ids, with the usual one in the place of `{}`.
    :ivar resource: what its resource's name ends in.
    :ivar transport: the only one that it makes sense with; empty for any.
    :ivar runs: whether a hook can run for it.
    :ivar signals: how many signals Heat gets in the end; None where nothing can reach it.
    :ivar fits_queue: whether Zaqar takes it as a part of a metadata message.
    """

    change: Callable[[Document], None] = _as_it_is
    prints: str = ""
    config_id: str = "{}"
    resource: str = ""
    transport: str = ""
    runs: bool = True
    signals: int | None = 1
    fits_queue: bool = True


def _with(**keys: Any) -> Callable[[Document], None]:
    return lambda document: document.update(keys)


def _with_input(name: str, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        others = [item for item in document["inputs"] if item["name"] != name]
        document["inputs"] = [*others, {"name": name, "type": "Json", "value": value}]

    return change


def _with_entry(entry: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["inputs"].append(entry)

    return change


def _structured(name: str, content: Any) -> Callable[[Document], None]:
    return _with(name=name, group="os-apply-config", config=content)


def _ungrouped(document: Document) -> None:
    del document["group"], document["config"]


def _nested(levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = [value]
    return value


NEIGHBOURS = {
    "name with a slash": Hostile(_with(name="app/install")),
    "name with a dot": Hostile(_with(name=".setup")),
    "name of 300 characters": Hostile(_with(name="n" * 300)),
    "name that is a number": Hostile(_with(name=7)),
    "resource to be quoted": Hostile(resource="#1?a%20b", transport="HEAT_SIGNAL"),
    "id with a slash": Hostile(config_id="../../up-{}"),
    "id with a dot": Hostile(config_id=".{}"),
    "id of 300 characters": Hostile(config_id="{}" + "i" * 264),
    "group that is a number": Hostile(_with(group=5), runs=False),
    "group without a hook": Hostile(_with(group="no-such-hook"), runs=False),
    "input without a name": Hostile(_with_entry({"value": 1}), runs=False),
    "input that is a number": Hostile(_with_entry(3), runs=False),
    "nested too deep": Hostile(_with_entry(_nested(200)), runs=False, fits_queue=False),
    "timeout that is none": Hostile(_with_input("deploy_timeout", "soon"), runs=False),
    "component without a config": Hostile(_with(group="component", config={}), runs=False),
    "structured, named as a collector": Hostile(
        _structured("zaqar", {"hello": 1}), transport="NO_SIGNAL", runs=False, signals=0
    ),
    "structured, of 90 wide characters": Hostile(
        _structured("\u6f22" * 90, {"hello": 1}), transport="NO_SIGNAL", runs=False, signals=0
    ),
    "ungrouped, without a config": Hostile(
        _ungrouped, transport="NO_SIGNAL", runs=False, signals=0
    ),
    "transport that is unknown": Hostile(
        _with_input("deploy_signal_transport", "PIGEON_SIGNAL"), signals=None
    ),
    "queue without a name": Hostile(
        _with_input("deploy_queue_id", ""), transport="ZAQAR_SIGNAL", signals=None
    ),
    "queue that Zaqar refuses": Hostile(
        _with_input("deploy_queue_id", "a queue!"), transport="ZAQAR_SIGNAL", signals=None
    ),
    "URL without a scheme": Hostile(
        _with_input("deploy_signal_id", f"127.0.0.1/signal?Signature={SIGNATURE}"),
        transport="CFN_SIGNAL",
        signals=None,
    ),
    "URL that is none": Hostile(
        _with_input("deploy_signal_id", f"http://[::1/?temp_url_sig={SIGNATURE}"),
        transport="TEMP_URL_SIGNAL",
        signals=None,
    ),
    "URL of a host that is not there": Hostile(
        _with_input("deploy_signal_id", f"http://127.0.0.1:9/?Signature={SIGNATURE}"),
        transport="CFN_SIGNAL",
        signals=None,
    ),
    "output with a surrogate": Hostile(prints="surrogate"),
    "output of 2**70": Hostile(prints="huge"),
    "output that is no number": Hostile(prints="nan"),
    "output with zero bytes": Hostile(prints="zero"),
    "output of a long list": Hostile(prints="list"),
    "output of a long text": Hostile(prints="text"),
    "output nested too deep": Hostile(prints="deep"),
}

# Follows `{"result": "..."` in what the hook prints.
PRINTS = {
    "surrogate": r', "more": "\ud800", "last": 1',
    "huge": f', "more": {2**70}, "last": 1',
    "nan": ', "more": NaN, "most": -Infinity, "last": 1',
    "zero": r', "mo\u0000re": "a\u0000b", "last": 1',
    "list": f', "more": [{", ".join(["1234567"] * 45_000)}], "last": 1',
    "text": f', "more": "{"text" * 100_000}", "last": 1',
    "deep": f', "more": {"[" * 200}{"]" * 200}',
}

# What stands in the list of deployments and is none; Heat waits for nothing of them.
ENTRIES: list[Any] = [
    None,
    5,
    "a deployment",
    [],
    {},
    {"id": None, "name": "x"},
    {"id": 2**40, "name": "x", "group": "script"},
    {"id": {"a": 1}, "name": ["x"], "group": {}},
    {"id": "", "name": "", "inputs": "none", "group": "script"},
    {"name": "only a name", "group": "script", "config": "#!/bin/sh\n"},
]
