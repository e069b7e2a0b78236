"""Started in the place of the fork server's own file: it takes the kernel for one of Landlock's first version.

What later versions protect besides (truncation, TCP, signals, abstract sockets) is then the filter's affair
alone, as it is on Linux 5.13.
"""

from __future__ import annotations

import runpy
import sys
from typing import Final

_ROOT: Final = __file__.rsplit("/", 3)[0]

if __name__ == "__main__":
    sys.path.insert(0, _ROOT)
    from tools.sandbox.confined import landlock

    landlock.find_version = lambda: 1
    sys.path.remove(_ROOT)
    runpy.run_path(f"{_ROOT}/tools/sandbox/confined/fork_server.py", run_name="__main__")
