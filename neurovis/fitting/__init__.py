"""Training and fitting of models."""
