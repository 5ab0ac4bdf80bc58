"""Models as observers."""
