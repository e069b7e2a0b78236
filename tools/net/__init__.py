"""Every way in which this server goes out to hosts that somebody else names."""
