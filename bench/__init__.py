"""The benchmark: Signalbox and an empty Flask view under the same load, in turns, on this machine; `make bench`."""
