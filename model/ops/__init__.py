"""Differentiable operations without parameters: warping, permutations, composition of layers."""
