"""All tests; the folders mirror the packages that they test."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The root folder of the repository."""
