"""The greatest value around each pixel."""

import pytest
import torch
import torch.nn.functional as F

from model.ops.neighbourhood import greatest_around


@pytest.mark.parametrize("reach", [1, 3, 5])
def test_it_is_torchs_max_pool2d(reach: int) -> None:
    x = torch.rand(2, 3, 7, 6)
    assert torch.equal(greatest_around(x, reach), F.max_pool2d(x, reach, 1, reach // 2))
    assert torch.equal(greatest_around(x[0, 0], reach), greatest_around(x, reach)[0, 0])
