"""The test cloud's virtual environment, made by the real pip from packages of our own."""

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from testbed.cloud import environment

METADATA = "Metadata-Version: 2.1\nName: uWSGI\nVersion: 1\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
NAME = "uwsgi-1-py3-none-any.whl"
BACKEND = f"""
import shutil
def build_wheel(where, *_):
    return shutil.copy("{NAME}", where) and "{NAME}"
"""


def wheel(made: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("uwsgi_made.py", f"WHERE = {made!r}\n")
        archive.writestr("uwsgi-1.dist-info/METADATA", METADATA)
        archive.writestr("uwsgi-1.dist-info/WHEEL", WHEEL)
        archive.writestr("uwsgi-1.dist-info/RECORD", "")
    return content.getvalue()


def source() -> bytes:
    files = {
        "pyproject.toml": b'[build-system]\nrequires=[]\nbuild-backend="b"\nbackend-path=["."]\n',
        "b.py": BACKEND.encode(),
        "PKG-INFO": METADATA.encode(),
        NAME: wheel("here"),
    }
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"uwsgi-1/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def test_uwsgi_is_built_for_the_python_that_runs_it_whatever_another_one_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "uwsgi-1.tar.gz").write_bytes(source())
    (tmp_path / "links" / NAME).write_bytes(wheel("elsewhere"))
    (tmp_path / "requirements.txt").write_text("uWSGI==1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    environment.ensure(tmp_path / "venv", tmp_path / "log", print, tmp_path / "requirements.txt")
    show = [str(tmp_path / "venv/bin/python"), "-c", "import uwsgi_made; print(uwsgi_made.WHERE)"]
    assert subprocess.run(show, capture_output=True, text=True, check=True).stdout == "here\n"
