"""The splat avatar: one 3D Gaussian a texel of the body's UV atlas, driven by pose and texture map."""
