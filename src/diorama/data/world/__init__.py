"""Procedural rooms and streets with exact depth, labels and stereo: the data set that needs no download (NumPy and OpenCV only)."""
