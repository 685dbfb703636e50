"""What turns a data set into predictions: networks, fits, refinement; each by its name."""

from idhand.methods.detections import DetectedHands as DetectedHands
from idhand.methods.detections import DetectionCache as DetectionCache
from idhand.methods.registry import Method as Method
from idhand.methods.registry import MethodOptions as MethodOptions
from idhand.methods.registry import add_method as add_method
from idhand.methods.registry import method as method
from idhand.methods.registry import method_names as method_names
