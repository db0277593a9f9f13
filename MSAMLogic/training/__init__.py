"""Training: cases, patches, synthetic lesions, simulated clicks, losses and the trainer."""
