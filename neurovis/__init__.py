"""neurovis: models as observers, compared with human behaviour and fMRI."""

__version__ = "0.1.0"
