"""Data sets: one protocol, and samples in shards on disk that survive a kill at any moment."""

from idhand.data.dataset import DataSet as DataSet
from idhand.data.dataset import MemoryData as MemoryData
from idhand.data.dataset import Subset as Subset
from idhand.data.dataset import describe as describe
from idhand.data.dataset import models as models
from idhand.data.joining import Joined as Joined
from idhand.data.manifest import Manifest as Manifest
from idhand.data.manifest import Shard as Shard
from idhand.data.people import rows_by_subject as rows_by_subject
from idhand.data.people import true_betas as true_betas
from idhand.data.samples import decode_depth as decode_depth
from idhand.data.samples import decode_labels as decode_labels
from idhand.data.samples import decode_sample as decode_sample
from idhand.data.samples import encode_sample as encode_sample
from idhand.data.shards import Shards as Shards
from idhand.data.writing import SequenceSource as SequenceSource
from idhand.data.writing import Source as Source
from idhand.data.writing import write_shards as write_shards
