"""The versions that the tests of two versions run can be written from today's source.

Those tests are slow; a line of theirs that no longer stands in the source shall be seen at once.
"""

from pathlib import Path

import pytest

from tests.e2e import other_version, test_rolling_restart
from tests.e2e.other_version import Change, write_version

CHANGES = {
    name: change
    for module in (other_version, test_rolling_restart)
    for name, change in vars(module).items()
    if name.isupper() and isinstance(change, tuple) and not isinstance(change[0], str)
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_change_can_be_made(change: Change, tmp_path: Path) -> None:
    write_version(tmp_path / "other", change)
