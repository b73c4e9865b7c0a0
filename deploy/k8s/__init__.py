"""Kubernetes manifests, rendered and checked by `make k8s`."""
