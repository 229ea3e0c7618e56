"""The test bed's cloud with Nova itself: what its commands promise."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack.compute.v2.server import Server
from openstack.connection import Connection

from testbed.cloud import Cloud
from testbed.cloud.nova.content import NETWORK

PATIENCE_SECONDS = 240.0


def emulators_of(server: Server) -> list[str]:
    """The processes that run a server: its id is on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"qemu-system" in line and server.id.encode() in line:
            found.append(path.parent.name)
    return found


@pytest.fixture
def server(cloud_with_nova: Cloud, demo: Connection, hollow_image: Path) -> Iterator[Server]:
    """A running server with an empty disk."""
    assert cloud_with_nova
    image = demo.create_image(
        "hollow", filename=f"{hollow_image}.qcow2", disk_format="qcow2", wait=True
    )
    assert image
    server = demo.create_server("hollow", image=image, flavor="m1.tiny", network=NETWORK, wait=True)
    yield server
    demo.delete_server(server.id, wait=True)
    demo.delete_image(image.id, wait=True)


def test_up_again_starts_nothing_and_status_says_that_all_is_up(cloud_with_nova: Cloud) -> None:
    records = {
        name: cloud_with_nova.layout.record(name).read_text()
        for name in cloud_with_nova.service_names
    }
    told: list[str] = []
    cloud_with_nova.up(told.append)
    assert told == []
    assert {name: cloud_with_nova.layout.record(name).read_text() for name in records} == records
    assert set(cloud_with_nova.status().values()) == {True}
    assert "nova-compute" in records


def test_a_directory_that_once_had_nova_has_it_for_every_later_command(
    cloud_with_nova: Cloud,
) -> None:
    later = Cloud(cloud_with_nova.layout.directory, venv=cloud_with_nova.layout.venv)
    assert later.service_names == cloud_with_nova.service_names


def test_glance_takes_an_image_in_chunks_of_the_size_that_nova_sends_a_snapshot_in(
    cloud_with_nova: Cloud, demo: Connection
) -> None:
    assert cloud_with_nova
    body = {"name": "chunks", "disk_format": "raw", "container_format": "bare"}
    path = f"/images/{demo.image.post('/images', json=body).json()['id']}"
    chunks = (bytes(1 << 20) for _ in range(3))
    octets = {"Content-Type": "application/octet-stream"}
    try:
        answer = demo.image.put(f"{path}/file", data=chunks, headers=octets)
        assert answer.status_code == 204
        assert demo.image.get(path).json()["size"] == 3 << 20
    finally:
        demo.image.delete(path)


def test_a_guest_is_on_the_bridge_and_ends_with_libvirtd(
    cloud_with_nova: Cloud, server: Server
) -> None:
    ports = [path.name for path in Path("/sys/class/net/guests/brif").iterdir()]
    assert [name for name in ports if name.startswith("tap")]
    assert emulators_of(server)
    cloud_with_nova.stop("libvirtd")
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while emulators_of(server):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        cloud_with_nova.start("libvirtd")
