"""What is refused, in one line that says where."""

from __future__ import annotations

import re

import pytest

from trainables.data.sources import describe


def refusal(name, path):
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        describe(name, str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)
