"""Fixtures shared by all rooms."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import postgres as postgres_server

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # a busy machine is slow; that is no mistake of the code


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets named by RADVQA_DATA; tests that need it are skipped, visibly, without it."""
    folder = os.environ.get("RADVQA_DATA")
    if not folder:
        pytest.skip("RADVQA_DATA is not set: real data tests are skipped")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres():
    """The URL of a PostgreSQL server of our own; tests that need it are skipped, visibly, where it is not installed."""
    if postgres_server.program("postgres") is None:
        pytest.skip("PostgreSQL is not installed: its tests are skipped (make browser)")
    with postgres_server.running("fsync=off") as url:
        yield url


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tiny PaliGemma checkpoint."""
    from tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Questions about the sides of made pictures, to train on."""
    from training_tiny import sides

    return sides(tmp_path_factory.mktemp("data") / "corpus")
