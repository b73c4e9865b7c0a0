"""Pictures that callers send are decoded in processes of their own, within limits of time and memory."""
