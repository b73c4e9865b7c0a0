"""The public edge: protobuf and gRPC are known here and in backends/, nowhere else in the gateway."""
