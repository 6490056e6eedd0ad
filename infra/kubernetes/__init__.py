"""The deployment in Kubernetes: a kustomize base of all jobs, and its check against the schemas of its readers."""
