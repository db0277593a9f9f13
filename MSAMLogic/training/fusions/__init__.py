"""Teaching a network to make one mask of the first looks: they are recorded, then it learns from them."""
