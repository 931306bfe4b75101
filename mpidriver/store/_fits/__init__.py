"""FITS files: images, tables, cutouts, raw frames, in and out."""
