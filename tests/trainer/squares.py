"""Two hard squares that pass in front of one another."""

import torch

from model.interface import Truth, Video

HEIGHT, WIDTH = 20, 24


def squares() -> Video:
    """Five frames of two 6x6 squares; only in frame 3 they overlap: red hides 2 of green's 6 columns."""
    ids = torch.zeros(1, 5, HEIGHT, WIDTH, dtype=torch.long)
    masks = torch.zeros(1, 5, 2, HEIGHT, WIDTH)
    centres, velocities = torch.zeros(1, 5, 2, 2), torch.zeros(1, 5, 2, 2)
    colours = torch.tensor([[[1.0, 0.0, 0.25], [0.25, 0.75, 0.5]]])
    corners = {0: [(8, 13 - 3 * t) for t in range(5)], 1: [(12, 1 + 3 * t) for t in range(5)]}
    for n in (1, 0):  # far to near
        for t, (x, y) in enumerate(corners[n]):
            masks[0, t, n, y : y + 6, x : x + 6] = 1
            ids[0, t, y : y + 6, x : x + 6] = n + 1
            centres[0, t, n] = torch.tensor([x + 3, y + 3])
    velocities[:, :-1] = centres[:, 1:] - centres[:, :-1]
    palette = torch.cat([torch.zeros(1, 3), colours[0]])
    frames = palette[ids].permute(0, 1, 4, 2, 3)
    truth = Truth(ids, masks, torch.tensor([[0, 1]]), centres, velocities, colours, torch.tensor([[1, 1]]))
    return Video(frames, truth)
