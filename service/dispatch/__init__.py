"""Gets segments executed: here by tasks of this process."""
