"""The diskimage-builder elements, as `pip install heat-config-zaqar` puts them on a build host.

Owns the command `heat-config-zaqar-elements`. Invariant: in an installed copy `elements/` and
`hooks/` lie side by side in this package as they do in a checkout, since the elements stage the
guest's package from `../hooks`.
"""

import argparse
import importlib.metadata
from pathlib import Path


def elements_path() -> Path:
    """Return the directory to name in diskimage-builder's ELEMENTS_PATH."""
    return Path(__file__).resolve().parent / "elements"


def main() -> None:
    """Print the directory to name in diskimage-builder's ELEMENTS_PATH."""
    parser = argparse.ArgumentParser(prog="heat-config-zaqar-elements", description=main.__doc__)
    version = importlib.metadata.version("heat-config-zaqar")
    parser.add_argument("--version", action="version", version=version)
    parser.parse_args()
    print(elements_path())
