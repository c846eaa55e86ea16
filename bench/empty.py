"""A Flask view that does nothing: what a request costs before anybody has looked at it."""

from flask import Flask

app = Flask("empty", static_folder=None)


@app.post("/hooks/<name>")
def receive(name: str) -> str:
    return "{}\n"
