"""What is in the built image, and what is not."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import image as images
from testbed import kpartx
from testbed.image import Image
from testbed.image_size import own_seconds

VENV = "opt/heat-config-zaqar"


def files_below(directory: Path) -> Iterator[Path]:
    """Yield the regular files, not following links."""
    for place, _, names in os.walk(directory):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                yield path


def host_pip_values() -> list[str]:
    """Return the addresses and files that the build host's pip is configured with."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    values = re.findall(r"='(.*)'$", listed, re.MULTILINE)
    return [word for value in values for word in value.split() if "/" in word]


def test_nothing_of_the_build_hosts_pip_configuration_or_caches_is_left(root: Path) -> None:
    for name in ("etc/pip.conf", "root/.pip", "root/.config/pip", "root/.cache", "root/.netrc"):
        assert not (root / name).exists(), name
    # The path of the system's own certificates is every Debian's, and says nothing.
    values = [value for value in host_pip_values() if not value.startswith("/etc/ssl/certs/")]
    for directory in (VENV, "etc", "root", "usr/local", "var/lib/heat-config-zaqar"):
        for path in files_below(root / directory):
            content = path.read_bytes()
            for value in values:
                assert value.encode() not in content, f"{value} in {path}"


def test_no_certificate_authority_of_the_build_host_is_left(root: Path) -> None:
    assert not any((root / "usr/local/share/ca-certificates").glob("**/*.crt"))
    assert not (root / "etc/heat-config-zaqar/ca.pem").exists()


def test_packages_are_installed_in_the_virtual_environment_only(root: Path) -> None:
    (packages,) = (root / VENV / "lib").glob("python3.*/site-packages")
    assert (packages / "heat_config_zaqar").is_dir()
    assert not (packages / "pip").exists()
    local = [path for path in (root / "usr/local/lib").glob("python3*/**/*") if path.is_file()]
    assert local == []


def test_the_elements_add_less_than_30_mebibytes(root: Path) -> None:
    size = sum(path.stat().st_size for path in files_below(root / VENV))
    assert size < 30 * 1024 * 1024


def test_the_removed_api_of_python_zaqarclient_is_used_nowhere(root: Path) -> None:
    removed = b"queues." + b"v1"
    places = [root / VENV, root / "usr/libexec", root / "var/lib/heat-config"]
    users = [
        path
        for place in places
        for path in files_below(place)
        if path.suffix != ".pyc"
        and b"zaqarclient" in (content := path.read_bytes())
        and b"zaqarclient." + removed in content
    ]
    assert users == []


def test_the_image_was_built_by_readmes_commands_to_the_letter(image: Image) -> None:
    (commands,) = (block for block in images.pipeline() if "disk-image-create" in block)
    if "debian-minimal" not in image.command_line or "bookworm" not in image.command_line:
        pytest.skip("this image is of another distribution than README's")
    if not image.partitioned:
        pytest.skip(f"this machine has no way to the `vm` element: {image.reason}")
    assert commands == image.command_line.partition("\n")[2] or commands == image.command_line


def test_readme_names_the_packages_that_the_build_takes() -> None:
    install = next(block for block in images.pipeline() if "apt-get install" in block)
    named = set(install.split("apt-get install -y ")[1].split())
    listed = (images.REPOSITORY / "bindep.txt").read_text().splitlines()
    known = {line.split()[0] for line in listed if line.endswith("[platform:dpkg]")}
    needed = {*images.TOOLS.values(), *images.TOOLS_TO_PARTITION.values()} - {"sudo"}
    assert needed <= named <= known


def test_a_machine_that_cannot_partition_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "DEVICE_MAPPER", tmp_path / "control")
    monkeypatch.setattr(kpartx, "LOOP_CONTROL", tmp_path / "loop-control")
    with pytest.raises(images.ImageError, match="a device mapper or loop devices"):
        images.build(tmp_path / "guest", partitioned=True)


def test_hooks_find_yaml_on_the_distributions_python(root: Path) -> None:
    subprocess.run(["chroot", str(root), "/usr/bin/python3", "-c", "import yaml"], check=True)


def test_the_network_is_configured_by_units_that_no_first_boot_has_to_enable(root: Path) -> None:
    wants = root / "etc/systemd/system"
    enabled = {path.name for path in wants.glob("*.wants/*.service")}
    assert {"systemd-networkd.service", "systemd-resolved.service"} <= enabled
    assert (root / "etc/resolv.conf").readlink().name == "stub-resolv.conf"


def test_the_build_says_how_much_the_elements_installed_and_how_long_they_took(
    image: Image,
) -> None:
    log = image.log.read_text(errors="replace")
    assert re.search(r"Installed \d+ packages, [\d.]+ MiB, in /opt/heat-config-zaqar", log)
    assert own_seconds(log) > 0


def test_the_wheels_in_the_image_are_listed_beside_it(image: Image) -> None:
    assert image.qcow2 is not None
    (listed,) = image.qcow2.with_suffix(".d").glob("**/heat-config-zaqar-wheels")
    assert "os_collect_config-14.1.0" in listed.read_text()


def failing_build(tmp_path: Path, *options: str, **environment: str) -> str:
    """Return what a build that must fail prints to its standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "testbed.image", "--out", str(tmp_path / "guest"), *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_an_unknown_distribution_or_release_stops_the_build_with_the_known_ones(
    tmp_path: Path,
) -> None:
    assert "debian, ubuntu" in failing_build(tmp_path, "--distribution", "beos")
    assert "bookworm, trixie" in failing_build(tmp_path, "--release", "woody")


def test_a_missing_tool_of_the_host_stops_the_build_and_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "TOOLS", {"no-such-tool": "no-such-package"})
    with pytest.raises(images.ImageError, match="install no-such-package"):
        images.build(tmp_path / "guest", partitioned=False)


def test_a_build_without_network_stops_and_asks_for_one(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    message = failing_build(tmp_path, DIB_IMAGE_CACHE=str(cache), PIP_RETRIES="0")
    assert "is there a network?" in message


def test_the_description_of_an_image_can_be_read_again(image: Image, tmp_path: Path) -> None:
    images.save(image, tmp_path / "x")
    assert images.load(tmp_path / "x") == image
    assert json.loads((tmp_path / "x.json").read_text())["partitioned"] is image.partitioned
