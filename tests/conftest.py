"""Fixtures shared by all rooms."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets named by RADVQA_DATA; tests that need it are skipped, visibly, without it."""
    folder = os.environ.get("RADVQA_DATA")
    if not folder:
        pytest.skip("RADVQA_DATA is not set: real data tests are skipped")
    return Path(folder)
