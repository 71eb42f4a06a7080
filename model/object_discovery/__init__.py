"""Object discovery by prediction (Besbinar & Frossard 2021, arXiv 2103.05669).

Equation numbers in this package are that paper's. Reading order: cell.py (one time step, equation by equation), then
masks.py (F1, S), ordering.py (F2), motion.py (F3), memory.py (F4, F5), losses.py and model.py. What the paper does not
have, and the demo lives by: starts.py (where slots look first), looks.py (what they look like, and who is in front),
shared_head.py (one head that recognises them) and matching.py (where they went).
Each of them has its own settings, with the paper's scale (section 4) as defaults; scale.py has those that they share.
The paper gives size, slots, losses and the optimiser; every other number is a choice of this project. Settings that
depart from the paper are off by default and say so.
"""
