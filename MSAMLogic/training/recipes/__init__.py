"""What each system minimises: one function a system, from a network and a batch to its losses."""
