"""The rooms of the guest package: imports go down only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

_PACKAGE = "heat_config_zaqar"
_SOURCE = Path(__file__).resolve().parents[2] / "hooks" / _PACKAGE
# A module may import from its own room and from those after it; "" is the ground.
_ROOMS = ("operate", "run", "deliver", "collect", "wire", "state", "")
_NETWORK = (
    "http",
    "keystoneauth1",
    "requests",
    "socket",
    "ssl",
    "urllib3",
    "websocket",
    "zaqarclient",
)
_MODULES = sorted(str(path.relative_to(_SOURCE)) for path in _SOURCE.rglob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a file of the package, or of what an import names below the package."""
    first = module.replace("/", ".").partition(".")[0]
    return first if first in _ROOMS else ""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_imports(source: Path, module: str) -> list[str]:
    """Return what a module imports from a room above its own."""
    depth = _ROOMS.index(room_of(module))
    inside = [name for name in imported(source / module) if name.startswith(f"{_PACKAGE}.")]
    return [name for name in inside if _ROOMS.index(room_of(name.partition(".")[2])) < depth]


@pytest.mark.parametrize("module", _MODULES)
def test_a_module_imports_only_from_its_room_and_those_below(module: str) -> None:
    assert wrong_imports(_SOURCE, module) == []


@pytest.mark.parametrize("module", [name for name in _MODULES if room_of(name) in ("state", "")])
def test_the_ground_and_the_state_know_no_network(module: str) -> None:
    used = {name.partition(".")[0] for name in imported(_SOURCE / module)}
    assert used.isdisjoint(_NETWORK)


def test_an_arrow_that_is_turned_round_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/outbox.py").write_text(f"from {_PACKAGE}.wire.queue import Queue\n")
    assert wrong_imports(tmp_path, "state/outbox.py") == [f"{_PACKAGE}.wire.queue.Queue"]


def test_no_module_of_a_room_imports_another_in_a_circle() -> None:
    above = {module: _within(module) for module in _MODULES}
    done: set[str] = set()
    while ready := {
        module for module, needs in above.items() if module not in done and needs <= done
    }:
        done |= ready
    assert set(_MODULES) - done == set()


def _within(module: str) -> set[str]:
    """Return the files of the package that a module imports."""
    found = set()
    for name in imported(_SOURCE / module):
        parts = name.split(".")[1:] if name.startswith(f"{_PACKAGE}.") else []
        for length in range(1, len(parts) + 1):
            path = "/".join(parts[:length]) + ".py"
            if path in _MODULES:
                found.add(path)
    return found


@pytest.mark.parametrize("module", _MODULES)
def test_files_and_classes_stay_small(module: str) -> None:
    text = (_SOURCE / module).read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.end_lineno:
            assert node.end_lineno - node.lineno < 130, node.name


def test_functions_are_short() -> None:
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for module in _MODULES
        for node in ast.walk(ast.parse((_SOURCE / module).read_text()))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 8
    assert lengths[len(lengths) * 9 // 10] <= 20
