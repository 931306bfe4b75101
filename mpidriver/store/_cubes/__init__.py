"""Cubes larger than memory: read by regions whatever their format, written in place by many processes.

::

    _axes           which axis of a stored array is spectral, which are the sky
    _source         what every reader has; opening a cube
    _raw            values that lie in a file as they are: FITS, contiguous HDF5
    _hdf5  _casa    chunked HDF5; CASA images
    _channels       frequencies and noise of channels, from headers, texts and tables
    _depth          headers of cubes whose third axis is Faraday depth
    _files          cubes that are made at their full size and filled by regions
    _maps           images of the sky beside cubes
    _journal        which regions are filled
"""
