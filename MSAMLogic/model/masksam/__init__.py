"""MaskSAM (Xie et al., arXiv 2403.14103): SAM without prompts, which names what it finds.

Where the paper is silent, these modules follow the authors' code (github.com/bxie9/MaskSAM, its ViT-B model,
commit c6860c5) and say so; they published no weights that a layout would have to fit.
"""
