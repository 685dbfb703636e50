"""How good predictions are: metrics, protocols, intervals over people, tables and curves."""

from idhand.evaluation.bootstrap import Interval as Interval
from idhand.evaluation.bootstrap import difference_interval as difference_interval
from idhand.evaluation.bootstrap import drawn_over as drawn_over
from idhand.evaluation.bootstrap import mean_interval as mean_interval
from idhand.evaluation.bootstrap import ratio_interval as ratio_interval
from idhand.evaluation.curves import Chart as Chart
from idhand.evaluation.curves import Curve as Curve
from idhand.evaluation.protocol import Protocol as Protocol
from idhand.evaluation.protocol import evaluate as evaluate
from idhand.evaluation.protocol import labels as labels
from idhand.evaluation.protocol import paper as paper
from idhand.evaluation.protocol import standard as standard
from idhand.evaluation.report import METRICS as METRICS
from idhand.evaluation.report import Metric as Metric
from idhand.evaluation.report import Report as Report
from idhand.evaluation.report import difference as difference
from idhand.evaluation.report import on_same_pictures as on_same_pictures
from idhand.evaluation.report import ratio as ratio
from idhand.evaluation.shapes import Coverage as Coverage
from idhand.evaluation.shapes import coverage as coverage
from idhand.evaluation.shapes import measure_errors_mm as measure_errors_mm
from idhand.evaluation.shapes import measure_sigmas_mm as measure_sigmas_mm
from idhand.evaluation.shapes import rest_errors_mm as rest_errors_mm
from idhand.evaluation.tables import Column as Column
from idhand.evaluation.tables import Table as Table
