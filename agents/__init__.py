"""One module per agent; `_kit` is the machinery they share."""
