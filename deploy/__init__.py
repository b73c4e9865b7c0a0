"""What operators install: images, Kubernetes, monitoring."""
