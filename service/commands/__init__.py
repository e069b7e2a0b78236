"""What the subcommands of `signalbox` do."""
