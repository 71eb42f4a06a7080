"""Classes of pixels, learnt from few labels: SegNet basic frame by frame, and SegNet-flow, which carries labels on.

Start with network.py, the convolutions of SegNet basic; then flow.py, what arXiv 1511.06309 (section 5.2) adds.
"""
