"""Yours: what happens because of an event. Every file in here is live by being here; `_name.py` is left alone."""
