"""ImageNet's thousand folders, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.images import image_folder


@pytest.fixture(scope="session")
def imagenet_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of each class; nobody may change it."""
    root = tmp_path_factory.mktemp("imagenet")
    return image_folder(root, classes=[f"n{i:04}" for i in range(1000)], per_class=1, size=8)
