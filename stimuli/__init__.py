"""Pictures: generators of stimulus sets, in degrees and pixels."""
