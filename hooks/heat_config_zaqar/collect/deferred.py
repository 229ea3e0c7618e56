"""Libraries that an idle collector does not use, imported when somebody first does.

Upstream imports each source with all that it needs, configured or not: with what clients import and
never call, a quarter of an idle guest's memory, and a third of its collector's start.
Invariant: who uses such a library gets the library itself, whenever that is.
"""

import importlib
import importlib.metadata
import sys
from types import ModuleType
from typing import Any

# Packages before what is in them.
_NAMES = (
    *("heatclient", "heatclient.client", "heatclient.exc"),
    *("keystoneclient", "keystoneclient.discover", "keystoneclient.exceptions"),
    *("keystoneclient.contrib", "keystoneclient.contrib.ec2", "keystoneclient.contrib.ec2.utils"),
    *("keystoneclient.v3", "keystoneclient.v3.client"),
    *("lxml", "lxml.etree"),
    # Of python-zaqarclient, which checks nothing by it.
    *("jsonschema", "jsonschema.validators"),
    # Of requests, for text whose encoding no answer names.
    "charset_normalizer",
)


def defer() -> None:
    """Put a stand-in into the place of each library that is not imported yet."""
    imported = {name.partition(".")[0] for name in sys.modules}
    for name in _NAMES:
        package, _, child = name.rpartition(".")
        if name.partition(".")[0] not in imported:
            sys.modules[name] = _StandIn(name)
        if package and isinstance(sys.modules[package], _StandIn):
            vars(sys.modules[package])[child] = sys.modules[name]
    # requests warns of one that it does not know, and looks at once.
    guesser = sys.modules["charset_normalizer"]
    vars(guesser).setdefault("__version__", importlib.metadata.version("charset_normalizer"))


class _StandIn(ModuleType):
    """A module that becomes another one when somebody asks it for anything."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # The import system takes what has it for a package.
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        library = self.__name__.partition(".")[0]
        for other, module in list(sys.modules.items()):
            if other.partition(".")[0] == library and isinstance(module, _StandIn):
                sys.modules.pop(other, None)
        return getattr(importlib.import_module(self.__name__), name)
