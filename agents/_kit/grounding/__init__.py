"""Where what a result says comes from: numbers, quotes, citations and urls, checked without a model."""
