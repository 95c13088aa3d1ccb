"""The runs of a second that tests of the pipeline use, for tests of its benchmarks."""

from tests.pipeline.conftest import make_trainer, pytest_collection_modifyitems

__all__ = ["make_trainer", "pytest_collection_modifyitems"]
