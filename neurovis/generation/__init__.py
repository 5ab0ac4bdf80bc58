"""Images from noise: noise levels, generators, and how they are sampled."""
