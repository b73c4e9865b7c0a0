"""The scorer: embeddings and similarity metrics. A value never depends on batch mates."""
