"""Every backend of this repository against the conformance kit."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessile.ids import new_id
from sessile.testing import StoreConformance


class TestMemory(StoreConformance):
    many_processes = False

    @pytest.fixture
    def store_url(self) -> str:
        return f"memory://{new_id()}"


class TestFile(StoreConformance):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path / 'sessions'}"


class TestSQLite(StoreConformance):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'sessions.db'}"
