"""How a network looks at a lesion: where patches go, its answers in them, and one mask of several looks."""
