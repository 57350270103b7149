"""How fast the service is, each figure beside its control in the same run. Benchmarks are not tests."""
