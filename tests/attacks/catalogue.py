"""All attacks."""

from __future__ import annotations

from typing import Final

from tests.attacks.kernel_calls import CALLS, ROOM, TIME
from tests.attacks.machinery import MACHINERY
from tests.attacks.reaching import PROCESSES, SOCKETS
from tests.attacks.reading import READING, WRITING

ATTACKS: Final = [*READING, *WRITING, *SOCKETS, *PROCESSES, *MACHINERY, *CALLS, *TIME, *ROOM]
