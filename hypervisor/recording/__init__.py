"""What came to a machine from outside, kept, and a run repeated from it: see README.md."""

from __future__ import annotations

from paravane.recording.errors import RecordingError
from paravane.recording.folder import Recording, begin, disk_of, finish, load
from paravane.recording.inputs import Input
from paravane.recording.manifest import End, Made, Manifest
from paravane.recording.recorder import Recorder
from paravane.recording.replayer import Replayer
from paravane.recording.revisable import Place, Revisable, RevisableRecorder, RevisableReplayer

__all__ = [
    "End",
    "Input",
    "Made",
    "Manifest",
    "Place",
    "Recorder",
    "Recording",
    "RecordingError",
    "Replayer",
    "Revisable",
    "RevisableRecorder",
    "RevisableReplayer",
    "begin",
    "disk_of",
    "finish",
    "load",
]
