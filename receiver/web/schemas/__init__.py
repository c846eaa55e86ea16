"""Every JSON shape that the API takes or gives, described once: its documentation and its checks are made of these."""
