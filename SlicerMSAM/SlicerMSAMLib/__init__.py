"""The parts of the SlicerMSAM module; the module file one folder up only puts them together."""
