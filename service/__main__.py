"""`python -m service` is the `signalbox` command."""

from service.cli import main

main()
