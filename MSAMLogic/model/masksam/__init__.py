"""MaskSAM (Xie et al., arXiv 2403.14103): SAM without prompts, which names what it finds.

The paper gives the outline; sizes, order and weights of losses are those of the authors' code
(github.com/bxie9/MaskSAM, its ViT-B model for ACDC, commit c6860c5) where a module does not say otherwise.
They published no weights that a layout would have to fit.
"""
