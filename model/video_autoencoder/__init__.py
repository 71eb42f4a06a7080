"""Next-frame predictors of "Spatio-temporal video autoencoder with differentiable memory" (arXiv 1511.06309).

Start with autoencoder.py: what the four networks share; then flow.py, the paper's own.
"""
