"""Bring your own task: what may be said of it before any training."""
