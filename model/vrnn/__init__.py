"""The variational recurrent network (Chung et al. 2015), SQAIR's baseline without objects.

Reading order: model.py (what can be chosen, and the pass over a clip), cell.py (a frame), networks.py (what sees and
draws frames). The paper gives no sizes; these are those of docs that came with FIVO (Maddison et al. 2017), on which
SQAIR's authors built: a latent of as many numbers as SQAIR has, 3 (50 + 4 + 1).
"""
