"""Does it hold when parts die? Real processes, killed on purpose; results in reliability/results."""

import os

# The harness starts processes while it talks gRPC; they exec at once, so gRPC has nothing to mend in them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
