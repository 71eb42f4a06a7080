"""Sequential Attend, Infer, Repeat (Kosiorek et al. 2018): objects are discovered, carried on, forgotten and counted.

Reading order: config.py (what can be chosen), model.py (the two models), inference.py (what they share, over time),
cell.py (a frame), discovery.py and propagation.py (its halves), drawing.py, objective.py (what is trained), views.py,
generation.py.

Each slot's latents are what it looks like (`what`), where it is (`where`, logits of a box, see ops/glimpse.py) and
whether it is there (`presence`). Two readings of SQAIR differ: the paper's text and the code that was released with
it, which the published numbers were made with. Defaults are the released code's; fields name the other.
"""
