"""Neural expectation maximisation: N-EM (arXiv 1708.03498) and R-NEM (arXiv 1802.10353), for binary video.

Read posterior.py (who explains a pixel), cell.py (one step), then model.py.
"""
