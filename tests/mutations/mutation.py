"""One entry of the lists beside this module."""

import dataclasses
from pathlib import PurePath


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One fix to take out.

    :ivar name: what the product then does.
    :ivar file: in `hooks/heat_config_zaqar`.
    :ivar fix: a text that is there once.
    :ivar without: what stands there without the fix.
    :ivar test: the name of the test that must fail, without its `test_`.
    :ivar test_file: where that is, in `tests/`; empty for the unit tests of the file.
    """

    name: str
    file: str
    fix: str
    without: str
    test: str
    test_file: str = ""

    @property
    def node(self) -> str:
        """The test, as pytest names it."""
        path = PurePath(self.file)
        room = path.parent.name or "ground"
        return f"tests/{self.test_file or f'unit/{room}/test_{path.stem}.py'}::test_{self.test}"
