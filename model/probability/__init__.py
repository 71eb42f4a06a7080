"""Densities, divergences and gradient estimators of latent-variable models; natural logarithms."""
