"""What a tool declares about itself besides its arguments."""

from __future__ import annotations

from typing import Final, Literal

Effect = Literal["none", "workspace", "external"]
"""`none`: reads only · `workspace`: changes only the run's own folder · `external`: changes the world."""

MAX_RESULT_CHARS: Final = 16_000
"""A longer tool result is cut, with a note that says how much was left out."""
