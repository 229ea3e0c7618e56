"""os-collect-config as it was before a guard was put into it."""

import logging
from collections.abc import Iterator

import pytest
from os_collect_config import collect, local, merger


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `sources.guard` changes of os-collect-config is as it was when the test is over."""
    monkeypatch.setattr(collect, "COLLECTORS", dict(collect.COLLECTORS))
    monkeypatch.setattr(collect, "cache", collect.cache)
    monkeypatch.setattr(merger, "merged_list_from_content", merger.merged_list_from_content)
    monkeypatch.setattr(local, "locale", local.locale)
    found = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    before = {logger: list(logger.filters) for logger in found}
    yield
    for logger, filters in before.items():
        logger.filters[:] = filters
