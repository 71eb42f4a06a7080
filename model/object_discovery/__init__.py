"""Object discovery by prediction (Besbinar & Frossard 2021, arXiv 2103.05669).

Equation numbers in this package are that paper's. Reading order: model.py (one time step, equation by equation),
then masks.py (F1, S), ordering.py (F2), motion.py (F3), memory.py (F4, F5), losses.py and health.py.
"""
