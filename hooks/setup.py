"""The guest package's version, which its surroundings know: see version_of in stage_wheels.py."""

from pathlib import Path

from setuptools import setup

known = Path(__file__).with_name("version.txt")
setup(version=known.read_text(encoding="utf-8").strip() if known.exists() else "0")
