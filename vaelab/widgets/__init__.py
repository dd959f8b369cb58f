"""Things to move: six explorers that compute and draw in the browser, with a kernel and without."""

from .beta import BetaExplorer
from .bound import BoundExplorer
from .explorer import Explorer
from .latent import LatentExplorer
from .plane import PlaneExplorer
from .playground import SoftFreeBitsPlayground
from .schedule import ScheduleExplorer

__all__ = [
    "BetaExplorer",
    "BoundExplorer",
    "Explorer",
    "LatentExplorer",
    "PlaneExplorer",
    "ScheduleExplorer",
    "SoftFreeBitsPlayground",
]
