"""The texture predictor: networks that turn normal-map video into texture-map video (vid2vid, Wang et al. 2018)."""
