"""Shapes that a network predicts photo by photo → one person's, with a calibrated covariance."""

from idhand.fusion.covariance_calibration import CovarianceCalibration as CovarianceCalibration
from idhand.fusion.covariance_calibration import covariance_file as covariance_file
from idhand.fusion.covariance_calibration import covariance_file_name as covariance_file_name
from idhand.fusion.fitting import FEWEST_PEOPLE as FEWEST_PEOPLE
from idhand.fusion.fitting import fit_covariance_calibration as fit_covariance_calibration
from idhand.fusion.fusing import Fused as Fused
from idhand.fusion.fusing import FusionConfig as FusionConfig
from idhand.fusion.fusing import FusionMode as FusionMode
from idhand.fusion.fusing import Likelihoods as Likelihoods
from idhand.fusion.fusing import combine as combine
from idhand.fusion.fusing import fuse as fuse
from idhand.fusion.fusing import likelihoods as likelihoods
from idhand.fusion.fusing import with_hand_length as with_hand_length
