"""Experiments: models against humans on the same stimuli."""
