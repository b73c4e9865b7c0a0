"""The loop: what comes next (plan.py), doing it (machine.py), and who does it where (runner.py). Knows no gRPC."""
