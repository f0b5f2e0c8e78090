"""Writes what SpikeGLX notes of a recording: a ``.meta`` of the demo's 31 contacts and their sync channel.

The keys and tables are those of a Neuropixels 1.0 probe, as neo, spikeinterface and IBL's spikeglx read them.
"""

import hashlib
from pathlib import Path

SAMPLE_RATE = 30_000
CHANNELS = 32
CONTACTS = CHANNELS - 1
SITES = 384
NAME = "_spikeglx_ephysData_g0_t0.imec.ap"


def seconds(largest: int) -> int:
    """How long the recording is, by the bytes of the largest file."""
    return 4 if largest > 10 * 2**20 else 1


def meta(path: Path, largest: int) -> None:
    """Write the file beside a recording of this length."""
    samples = SAMPLE_RATE * seconds(largest)
    size = 2 * CHANNELS * samples
    gains = "".join(f"({site} 0 0 500 250 1)" for site in range(SITES))
    channels = "".join(f"(AP{contact};{contact}:{contact})" for contact in range(CONTACTS))
    shank = "".join(f"(0:{site % 2}:{site // 2}:1)" for site in range(CONTACTS))
    lines = {
        "appVersion": "20190327",
        "fileCreateTime": "2023-01-02T15:59:10",
        "fileName": f"D:/iblrig_data/{NAME}.bin",
        "fileSHA1": hashlib.sha1(NAME.encode(), usedforsecurity=False).hexdigest().upper(),
        "fileSizeBytes": size,
        "fileTimeSecs": samples / SAMPLE_RATE,
        "firstSample": 0,
        "gateMode": "Immediate",
        "imAiRangeMax": 0.6,
        "imAiRangeMin": -0.6,
        "imDatApi": "1.18",
        "imDatBs_fw": "2.0.137",
        "imDatHs_fw": "",
        "imDatPrb_pn": "PRB_1_4_0480_1",
        "imDatPrb_port": 1,
        "imDatPrb_slot": 2,
        "imDatPrb_sn": 18005116102,
        "imDatPrb_type": 0,
        "imLEDEnable": "false",
        "imRoFile": "",
        "imSampRate": SAMPLE_RATE,
        "imStdby": "",
        "imTrgRising": "true",
        "imTrgSource": 0,
        "nSavedChans": CHANNELS,
        "snsApLfSy": f"{CONTACTS},0,1",
        "snsSaveChanSubset": f"0:{CONTACTS - 1},{2 * SITES}",
        "syncSourceIdx": 0,
        "syncSourcePeriod": 1,
        "trigMode": "Immediate",
        "typeImEnabled": 1,
        "typeNiEnabled": 0,
        "typeThis": "imec",
        "userNotes": "",
        "~imroTbl": f"(0,{SITES}){gains}",
        "~snsChanMap": f"({SITES},{SITES},1){channels}(SY0;{2 * SITES}:{CONTACTS})",
        "~snsShankMap": f"(1,2,480){shank}",
    }
    path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()), encoding="utf-8")
