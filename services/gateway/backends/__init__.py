"""The three backends behind Ray Serve's gRPC proxy, as the gateway's ports."""
