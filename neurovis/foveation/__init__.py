"""Images as the periphery has them: pooling windows, statistics, transforms."""
