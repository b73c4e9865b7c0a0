"""Commands that regenerate the numbers this project claims. Raw rows lie in benchmarks/results/."""
