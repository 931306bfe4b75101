"""The drivers: what is scattered and gathered, from raw frames to catalogues.

Each stage reads like the paragraph that describes it: `single_frame`, `mosaic`, `coadd`, `multiband`, `faraday`.
`pipeline` runs their quanta as one graph; `ingest` and `simulate` fill a repository with raw frames.
"""
