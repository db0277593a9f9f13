"""What a system minimises: a recipe takes a network and a batch and returns the figures of a step.

A recipe is ``loss(network, batch, rng)`` with a batch of ``patch`` (B, 1, n, n, n), normalised, and
``target`` of the same shape, whole labels; it returns tensors by name, of which ``loss`` is minimised and all
are logged.
"""
