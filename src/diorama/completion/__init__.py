"""Sparse depth in, dense depth out, without training: the rows every completion network has to beat."""
