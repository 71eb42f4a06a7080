"""Optical flow: files, colours, errors, and `python -m trainer flow`.

Everywhere here a flow field is a tensor (2, h, w) of *forward* motion: (x, y) in pixels, x to the right, y down, from
frame t to t + 1. Files of true flow have it on the grid of frame t, `Views.flow` on the grid of frame t + 1.
NaN stands for "unknown".
"""
