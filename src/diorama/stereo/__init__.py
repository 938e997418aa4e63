"""Rectified pairs in, disparity and its trust out. This part needs NumPy and OpenCV only."""
