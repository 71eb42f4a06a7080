"""A run as files for those who run clusters: Kubernetes with KubeRay, Slurm, Ray's launcher of cloud machines.

All are rendered from one Deployment by the functions of files.py.
"""
