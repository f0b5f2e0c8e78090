"""Which datasets a session has, and of which type and format each of them is."""

# Name: extension, description, Python loader.
FORMATS = {
    "npy": (".npy", "numpy array", "np.load"),
    "parquet": (".pqt", "Apache parquet table", "pd.read_parquet"),
    "csv": (".csv", "comma-separated values", "pd.read_csv"),
    "ssv": (".ssv", "space-separated values", "pd.read_csv"),
    "json": (".json", "JavaScript object notation", "json.load"),
    "jsonable": (".jsonable", "one JSON object a line", ""),
    "mp4": (".mp4", "MPEG-4 video", ""),
    "mtscomp": (".cbin", "compressed binary", "mtscomp.decompress"),
    "ch": (".ch", "index of a compressed binary", "json.load"),
    "meta": (".meta", "settings of a recording", ""),
    "unknown": (".?", "", ""),
}
FORMAT_BY_EXTENSION = {extension: name for name, (extension, _, _) in FORMATS.items()}

# Type, collection, file name. `{probe}` stands for probe00, probe01.
TRAINING = [
    ("_iblrig_taskData.raw", "raw_behavior_data", "_iblrig_taskData.raw.jsonable"),
    ("_iblrig_taskSettings.raw", "raw_behavior_data", "_iblrig_taskSettings.raw.json"),
    ("_iblrig_encoderPositions.raw", "raw_behavior_data", "_iblrig_encoderPositions.raw.ssv"),
    ("_iblrig_encoderEvents.raw", "raw_behavior_data", "_iblrig_encoderEvents.raw.ssv"),
    ("_iblrig_ambientSensorData.raw", "raw_behavior_data", "_iblrig_ambientSensorData.raw.csv"),
    ("_iblrig_Camera.raw", "raw_video_data", "_iblrig_leftCamera.raw.mp4"),
    ("_iblrig_Camera.timestamps", "raw_video_data", "_iblrig_leftCamera.timestamps.ssv"),
    ("trials.table", "alf", "_ibl_trials.table.pqt"),
    ("trials.stimOnTrigger_times", "alf", "_ibl_trials.stimOnTrigger_times.npy"),
    ("wheel.position", "alf", "_ibl_wheel.position.npy"),
    ("wheel.timestamps", "alf", "_ibl_wheel.timestamps.npy"),
]
PROBE = [
    ("ephysData.raw.ap", "raw_ephys_data/{probe}", "_spikeglx_ephysData_g0_t0.imec.ap.cbin"),
    ("ephysData.raw.ch", "raw_ephys_data/{probe}", "_spikeglx_ephysData_g0_t0.imec.ap.ch"),
    ("ephysData.raw.meta", "raw_ephys_data/{probe}", "_spikeglx_ephysData_g0_t0.imec.ap.meta"),
    ("ephysData.raw.lf", "raw_ephys_data/{probe}", "_spikeglx_ephysData_g0_t0.imec.lf.cbin"),
    ("ephysData.raw.sync", "raw_ephys_data/{probe}", "_spikeglx_ephysData_g0_t0.imec.sync.npy"),
    ("spikes.times", "alf/{probe}/pykilosort", "spikes.times.npy"),
    ("spikes.clusters", "alf/{probe}/pykilosort", "spikes.clusters.npy"),
    ("spikes.amps", "alf/{probe}/pykilosort", "spikes.amps.npy"),
    ("spikes.depths", "alf/{probe}/pykilosort", "spikes.depths.npy"),
    ("spikes.templates", "alf/{probe}/pykilosort", "spikes.templates.npy"),
    ("clusters.channels", "alf/{probe}/pykilosort", "clusters.channels.npy"),
    ("clusters.depths", "alf/{probe}/pykilosort", "clusters.depths.npy"),
    ("clusters.metrics", "alf/{probe}/pykilosort", "clusters.metrics.pqt"),
    ("clusters.uuids", "alf/{probe}/pykilosort", "clusters.uuids.csv"),
    ("clusters.waveforms", "alf/{probe}/pykilosort", "clusters.waveforms.npy"),
    ("channels.localCoordinates", "alf/{probe}/pykilosort", "channels.localCoordinates.npy"),
    ("channels.rawInd", "alf/{probe}/pykilosort", "channels.rawInd.npy"),
]
CAMERAS = [
    ("_iblrig_Camera.raw", "raw_video_data", "_iblrig_rightCamera.raw.mp4"),
    ("camera.times", "alf", "_ibl_leftCamera.times.npy"),
    ("camera.times", "alf", "_ibl_rightCamera.times.npy"),
]
OTHER_TYPES = {
    "subjectTrials.table": "*subjectTrials.table.*",
    "signal": "signal.*",
    "odd": "odd*",
    "tile": "tile.*",
    "unknown": None,
}
# Types whose name is not the middle of the file names.
PATTERNS = {
    "_iblrig_Camera.raw": "_iblrig_*camera.raw.*",
    "_iblrig_Camera.timestamps": "_iblrig_*camera.timestamps.*",
    "camera.times": "*camera.times.*",
    "ephysData.raw.ap": "*ephysdata*.ap.*bin",
    "ephysData.raw.lf": "*ephysdata*.lf.*bin",
    "ephysData.raw.ch": "*ephysdata*.ch",
    "ephysData.raw.meta": "*ephysdata*.meta",
    "ephysData.raw.sync": "*ephysdata*.sync.*",
    # Else the trials of a subject would be trials as well.
    "trials.table": "_*_trials.table.*",
}


def all_dataset_types() -> dict[str, str | None]:
    """Return the types with their file name patterns, or None where the name itself is found in file names."""
    named = [kind for kind, _, _ in TRAINING + PROBE + CAMERAS]
    patterns: dict[str, str | None] = {kind: PATTERNS.get(kind, f"*{kind.lower()}.*") for kind in named}
    patterns.update({kind: pattern and pattern.lower() for kind, pattern in OTHER_TYPES.items()})
    return dict(sorted(patterns.items()))


def recipe(probes: int) -> list[tuple[str, str, str]]:
    """List the datasets of a session with this many probes: none means training."""
    datasets = list(TRAINING)
    if probes:
        datasets += CAMERAS
    for number in range(probes):
        probe = f"probe{number:02}"
        datasets += [(kind, collection.format(probe=probe), name) for kind, collection, name in PROBE]
    return datasets
