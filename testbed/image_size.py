"""What the elements add to an image, in bytes and seconds.

Invariant: both images were built in this run, one after the other, and differ by the elements
alone. Both have cloud-init, so the distribution's Python is in both.
"""

import argparse
import re
import sys
import tarfile
from pathlib import Path

from testbed import image as images
from testbed.image import Image, ImageError

_MEBIBYTE = 1024 * 1024
# diskimage-builder's own list of what each script took.
_TOOK = re.compile(
    r"dib-run-parts \S*(?:os-collect|heat)-config-zaqar\S*\s+([\d.]+)$", re.MULTILINE
)


def main() -> int:
    """Build README's image with and without the elements, and compare them."""
    parser = argparse.ArgumentParser(prog="python -m testbed.image_size", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=images.REPOSITORY / "build" / "size")
    parser.add_argument("--distribution", default="debian")
    parser.add_argument("--release", default="bookworm")
    options = parser.parse_args()
    try:
        without, complete = (
            images.build(
                options.out.absolute() / name,
                distribution=options.distribution,
                release=options.release,
                partitioned=False,
                elements=elements,
            )
            for name, elements in (
                ("without", images.README_ELEMENTS[:-1]),
                ("with", images.README_ELEMENTS),
            )
        )
    except ImageError as error:
        print(f"image_size: {error}", file=sys.stderr)
        return 1
    images.save(complete, options.out.absolute() / "with")
    print(table(without, complete))
    return 0


def table(without: Image, complete: Image) -> str:
    """Return the comparison as a table in Markdown."""
    rows = [
        ("files, MiB", files(without), files(complete)),
        ("compressed qcow2, MiB", compressed(without), compressed(complete)),
        ("build, s", without.seconds, complete.seconds),
        ("of it the elements' own scripts, s", 0.0, own_seconds(complete.log.read_text())),
    ]
    lines = ["| | without | with | added |", "|---|---|---|---|"]
    lines += [f"| {name} | {a:.1f} | {b:.1f} | {b - a:.1f} |" for name, a, b in rows]
    return "\n".join(lines)


def files(image: Image) -> float:
    """Return what the files of an image hold, in MiB."""
    assert image.tar is not None
    with tarfile.open(image.tar) as archive:
        return sum(member.size for member in archive if member.isfile()) / _MEBIBYTE


def compressed(image: Image) -> float:
    """Return the size of an image's qcow2, in MiB."""
    assert image.qcow2 is not None
    return image.qcow2.stat().st_size / _MEBIBYTE


def own_seconds(log: str) -> float:
    """Return the seconds that the elements' scripts took, by diskimage-builder's account."""
    return sum(map(float, _TOOK.findall(log)))


if __name__ == "__main__":
    sys.exit(main())
