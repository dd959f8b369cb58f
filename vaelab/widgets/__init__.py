"""Things to move: six explorers that compute and draw in the browser, with a kernel and without."""

from .bound import BoundExplorer
from .explorer import Explorer
from .latent import LatentExplorer
from .plane import PlaneExplorer

__all__ = ["BoundExplorer", "Explorer", "LatentExplorer", "PlaneExplorer"]
