"""3DSAM-adapter: SAM's 2D ViT-B made volumetric by small trained parts (Gong et al., arXiv 2306.13465).

Where the authors' release (GitHub ``med-air/3DSAM-adapter``) differs from the paper, the release is
followed, because its checkpoints need it; the modules say where. Nothing is imported here: ``config``
needs no torch.
"""
