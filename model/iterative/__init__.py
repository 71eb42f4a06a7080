"""Iterative inference: slots whose posteriors are refined by a network that sees how well they explain a frame.

The spatio-temporal model (Zablotskaia et al. 2021, "PROVIDE", arXiv 2006.14727), its case of single frames, IODINE
(Greff et al. 2019), and IODINE that refines once a frame. Reading order: config.py (what can be chosen), grid.py (which
cells a clip is made of), cell.py (one of them), likelihood.py, networks.py, model.py (the pass over a clip).
"""
