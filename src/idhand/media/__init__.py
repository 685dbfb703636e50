"""The user's files → arrays: photos, camera files and videos. Nothing here is about hands.

Pictures leave as uint8 RGB, upright, with the intrinsics of the upright picture. What cannot be
read is a `ValueError` whose sentence names the file, the fault and a way out.
"""

from idhand.media.camera_files import CameraFile as CameraFile
from idhand.media.camera_files import read_camera as read_camera
from idhand.media.camera_files import read_camera_file as read_camera_file
from idhand.media.cameras import IntrinsicsDoubt as IntrinsicsDoubt
from idhand.media.cameras import IntrinsicsWarning as IntrinsicsWarning
from idhand.media.cameras import check_intrinsics as check_intrinsics
from idhand.media.cameras import intrinsics_doubt as intrinsics_doubt
from idhand.media.files import FoundMedia as FoundMedia
from idhand.media.files import MediaFile as MediaFile
from idhand.media.files import find_media as find_media
from idhand.media.pictures import read_image as read_image
from idhand.media.pictures import scaled_down as scaled_down
from idhand.media.videos import VideoFrame as VideoFrame
from idhand.media.videos import VideoReader as VideoReader
