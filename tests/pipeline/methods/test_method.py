"""What the base class of all methods demands of a subclass."""

import pytest

from data_prep.system.errors import UsageError
from pipeline.methods.method import Method


@pytest.mark.parametrize(("old", "new"), [("waits", "start_steps"), ("slopes", "differentiated_forward")])
def test_an_override_by_its_old_name_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(UsageError, match=f"^method Own in own_method: rename its {old} to {new}$"):
        type("Own", (Method,), {"__module__": "own_method", old: classmethod(lambda *_: {})})
