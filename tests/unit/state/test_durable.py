import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.state import durable
from tests.chaos.disk import Journal


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    durable.write_json(tmp_path / "a" / "b.json", {"x": [1, "ü"]})
    assert durable.read_json(tmp_path / "a" / "b.json") == {"x": [1, "ü"]}


def test_files_and_directories_are_for_root_alone(tmp_path: Path) -> None:
    durable.write_json(tmp_path / "a" / "b.json", 1)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b.json").stat().st_mode & 0o777 == 0o600


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert durable.read_json(tmp_path / "missing") is None


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match="x.json"):
        durable.read_json(tmp_path / "x.json")


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    durable.write_json(path, "old")
    with pytest.raises(TypeError):
        durable.write_json(path, {"new": object()})
    assert durable.read_json(path) == "old"
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a full disk needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("mounting a full disk needs a kernel that lets root mount tmpfs")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "x.json"
    durable.write_json(path, "old")
    with pytest.raises(OSError, match="No space"):
        durable.write_json(path, "x" * 200_000)
    assert durable.read_json(path) == "old"
    assert os.listdir(small_disk) == ["x.json"]


def test_removing_a_file_that_is_gone_is_fine(tmp_path: Path) -> None:
    durable.remove(tmp_path / "missing")


def test_a_power_cut_after_writing_loses_nothing(journal: Journal, tmp_path: Path) -> None:
    for content in ("old", "new"):
        durable.write_json(tmp_path / "state" / "deep" / "x.json", content)
        assert journal.pending(os.getpid()) == []
    durable.remove(tmp_path / "state" / "deep" / "x.json")
    assert journal.pending(os.getpid()) == []
    assert journal.unsynced_contents == 0
