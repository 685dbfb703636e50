"""Results → one HTML file that opens offline: photos, hands to turn, measures, curves."""

from idhand.view.report.cards import ReportPhoto as ReportPhoto
from idhand.view.report.page import HtmlReport as HtmlReport
from idhand.view.report.page import Table as Table
from idhand.view.report.videos import ReportVideo as ReportVideo
