"""Stages, updates, checkpoints and run folders: what a training loop is made of."""
