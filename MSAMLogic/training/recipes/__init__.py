"""How each system beside M-SAM is trained: one loss of a network, a batch and a source of chance."""
