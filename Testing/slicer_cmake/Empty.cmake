# Slicer writes a package configuration here, for extensions that build on this one.
