"""SETUP: what the camera and its software say about a recording, as the vendor lays it out.

Source: the vendor's cine format document, editions 741 and 804. A field is None where the file's
SETUP is too short to hold it; the vendor appended fields with each edition and never moved one.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightstage.cine.record import at

#: Bytes of SETUP in the newest edition (804), which the writer writes.
SETUP_BYTES = 0x29BC
#: Where Mark and Length lie: a SETUP shorter than this cannot say how long it is.
LENGTH_END = 0x90


@dataclass(frozen=True)
class CameraSetup:
    """The SETUP structure; units are in the names, the vendor's names in ``record.places``.

    Flags are integers, as stored (0 is off). Flip, rotation, crop, white balance, gain and gamma
    say how to display the pictures: they are not applied to the stored pixels.
    """

    frame_rate_16: int | None = at(0x00, "H", "FrameRate16")  # frames per second, clamped to 65535
    shutter_16_us: int | None = at(0x02, "H", "Shutter16")
    post_trigger_16: int | None = at(0x04, "H", "PostTrigger16")
    frame_delay_16_us: int | None = at(0x06, "H", "FrameDelay16")
    aspect_ratio: int | None = at(0x08, "H", "AspectRatio")
    # synchronisation: 0 internal, 1 external, 2 IRIG, 3 video, 5 sync-to-trigger
    trig_frame: int | None = at(0x11, "B", "TrigFrame")
    description_old: str | None = at(0x13, "121s", "DescriptionOld")
    mark: str | None = at(0x8C, "2s", "Mark")  # always "ST"
    length: int | None = at(0x8E, "H", "Length")  # bytes of SETUP in this file
    sig_option: int | None = at(0x92, "H", "SigOption")
    bin_channels: int | None = at(0x94, "h", "BinChannels")
    samples_per_image: int | None = at(0x96, "B", "SamplesPerImage")
    bin_names: tuple[str, ...] | None = at(0x97, "11s" * 8, "BinName")
    ana_option: int | None = at(0xEF, "H", "AnaOption")
    ana_channels: int | None = at(0xF1, "h", "AnaChannels")
    ana_board: int | None = at(0xF4, "B", "AnaBoard")
    ch_option: tuple[int, ...] | None = at(0xF5, "8h", "ChOption")
    ana_gain: tuple[float, ...] | None = at(0x105, "8f", "AnaGain")
    ana_units: tuple[str, ...] | None = at(0x125, "6s" * 8, "AnaUnit")
    ana_names: tuple[str, ...] | None = at(0x155, "11s" * 8, "AnaName")
    first_image: int | None = at(0x1AD, "i", "lFirstImage")
    image_count: int | None = at(0x1B1, "I", "dwImageCount")
    q_factor: int | None = at(0x1B5, "h", "nQFactor")
    cine_file_type: int | None = at(0x1B7, "H", "wCineFileType")
    cine_paths: tuple[str, ...] | None = at(0x1B9, "65s" * 4, "szCinePath")
    im_width: int | None = at(0x2E1, "H", "ImWidth")
    im_height: int | None = at(0x2E3, "H", "ImHeight")
    edr_shutter_16_us: int | None = at(0x2E5, "H", "EDRShutter16")
    serial: int | None = at(0x2E7, "I", "Serial")
    saturation: int | None = at(0x2EB, "i", "Saturation")
    auto_exposure: int | None = at(0x2F0, "I", "AutoExposure")
    # display only: stored pixels are not flipped
    flip_horizontal: int | None = at(0x2F4, "i", "bFlipH")
    flip_vertical: int | None = at(0x2F8, "i", "bFlipV")  # display only
    grid: int | None = at(0x2FC, "I", "Grid")
    frame_rate: int | None = at(0x300, "I", "FrameRate")  # frames per second
    shutter_us: int | None = at(0x304, "I", "Shutter")
    edr_shutter_us: int | None = at(0x308, "I", "EDRShutter")
    post_trigger: int | None = at(0x30C, "I", "PostTrigger")  # frames after the trigger
    frame_delay_us: int | None = at(0x310, "I", "FrameDelay")
    enable_color: int | None = at(0x314, "i", "bEnableColor")
    camera_version: int | None = at(0x318, "I", "CameraVersion")
    firmware_version: int | None = at(0x31C, "I", "FirmwareVersion")
    software_version: int | None = at(0x320, "I", "SoftwareVersion")
    # seconds, west positive
    recording_time_zone_s: int | None = at(0x324, "i", "RecordingTimeZone")
    # colour filter code in the low byte, gray heads in the top nibble
    cfa: int | None = at(0x328, "I", "CFA")
    bright: int | None = at(0x32C, "i", "Bright")
    contrast: int | None = at(0x330, "i", "Contrast")
    gamma: int | None = at(0x334, "i", "Gamma")
    auto_exp_level: int | None = at(0x33C, "I", "AutoExpLevel")
    auto_exp_speed: int | None = at(0x340, "I", "AutoExpSpeed")
    # left, top, right, bottom
    auto_exp_rect: tuple[int, ...] | None = at(0x344, "4i", "AutoExpRect")
    wb_gain: tuple[float, ...] | None = at(0x354, "8f", "WBGain")  # red, blue of four heads
    rotate_deg: int | None = at(0x374, "i", "Rotate")  # display only
    wb_view: tuple[float, ...] | None = at(0x378, "2f", "WBView")  # red, blue
    real_bpp: int | None = at(0x380, "I", "RealBPP")
    conv8_min: int | None = at(0x384, "I", "Conv8Min")
    conv8_max: int | None = at(0x388, "I", "Conv8Max")
    filter_code: int | None = at(0x38C, "i", "FilterCode")
    filter_param: int | None = at(0x390, "i", "FilterParam")
    # dimension, shifts, bias, 25 coefficients
    user_filter: tuple[int, ...] | None = at(0x394, "28i", "UF")
    black_cal_s_ver: int | None = at(0x404, "I", "BlackCalSVer")
    white_cal_s_ver: int | None = at(0x408, "I", "WhiteCalSVer")
    gray_cal_s_ver: int | None = at(0x40C, "I", "GrayCalSVer")
    stamp_time: int | None = at(0x410, "i", "bStampTime")
    sound_dest: int | None = at(0x414, "I", "SoundDest")
    frp_steps: int | None = at(0x418, "I", "FRPSteps")
    frp_img_nr: tuple[int, ...] | None = at(0x41C, "16i", "FRPImgNr")
    frp_rate: tuple[int, ...] | None = at(0x45C, "16I", "FRPRate")
    frp_exp: tuple[int, ...] | None = at(0x49C, "16I", "FRPExp")
    mc_count: int | None = at(0x4DC, "i", "MCCnt")
    mc_percent: tuple[float, ...] | None = at(0x4E0, "64f", "MCPercent")
    ci_calib: int | None = at(0x5E0, "I", "CICalib")
    calib_width: int | None = at(0x5E4, "I", "CalibWidth")
    calib_height: int | None = at(0x5E8, "I", "CalibHeight")
    calib_rate: int | None = at(0x5EC, "I", "CalibRate")
    calib_exp: int | None = at(0x5F0, "I", "CalibExp")
    calib_edr: int | None = at(0x5F4, "I", "CalibEDR")
    calib_temp: int | None = at(0x5F8, "I", "CalibTemp")
    head_serial: tuple[int, ...] | None = at(0x5FC, "4I", "HeadSerial")
    range_code: int | None = at(0x60C, "I", "RangeCode")
    range_size: int | None = at(0x610, "I", "RangeSize")
    decimation: int | None = at(0x614, "I", "Decimation")
    master_serial: int | None = at(0x618, "I", "MasterSerial")
    sensor: int | None = at(0x61C, "I", "Sensor")
    shutter_ns: int | None = at(0x620, "I", "ShutterNs")
    edr_shutter_ns: int | None = at(0x624, "I", "EDRShutterNs")
    frame_delay_ns: int | None = at(0x628, "I", "FrameDelayNs")
    im_pos_x_acq: int | None = at(0x62C, "I", "ImPosXAcq")
    im_pos_y_acq: int | None = at(0x630, "I", "ImPosYAcq")
    im_width_acq: int | None = at(0x634, "I", "ImWidthAcq")
    im_height_acq: int | None = at(0x638, "I", "ImHeightAcq")
    description: str | None = at(0x63C, "4096s", "Description")  # the operator's comment
    rising_edge: int | None = at(0x163C, "i", "RisingEdge")
    filter_time_us: int | None = at(0x1640, "I", "FilterTime")
    long_ready: int | None = at(0x1644, "i", "LongReady")
    shutter_off: int | None = at(0x1648, "i", "ShutterOff")
    meta_wb: int | None = at(0x165C, "i", "bMetaWB")
    hue: int | None = at(0x1660, "i", "Hue")
    black_level: int | None = at(0x1664, "i", "BlackLevel")  # in the stored code values
    white_level: int | None = at(0x1668, "i", "WhiteLevel")  # in the stored code values
    lens_description: str | None = at(0x166C, "256s", "LensDescription")
    lens_aperture: float | None = at(0x176C, "f", "LensAperture")  # f-number
    lens_focus_distance_m: float | None = at(0x1770, "f", "LensFocusDistance")
    lens_focal_length_mm: float | None = at(0x1774, "f", "LensFocalLength")
    offset: float | None = at(0x1778, "f", "fOffset")
    gain: float | None = at(0x177C, "f", "fGain")
    f_saturation: float | None = at(0x1780, "f", "fSaturation")
    f_hue: float | None = at(0x1784, "f", "fHue")
    f_gamma: float | None = at(0x1788, "f", "fGamma")
    gamma_r: float | None = at(0x178C, "f", "fGammaR")
    gamma_b: float | None = at(0x1790, "f", "fGammaB")
    flare: float | None = at(0x1794, "f", "fFlare")
    pedestal_r: float | None = at(0x1798, "f", "fPedestalR")
    pedestal_g: float | None = at(0x179C, "f", "fPedestalG")
    pedestal_b: float | None = at(0x17A0, "f", "fPedestalB")
    chroma: float | None = at(0x17A4, "f", "fChroma")
    tone_label: str | None = at(0x17A8, "256s", "ToneLabel")
    tone_points: int | None = at(0x18A8, "i", "TonePoints")
    tone: tuple[float, ...] | None = at(0x18AC, "64f", "fTone")  # 32 points, x and y
    user_matrix_label: str | None = at(0x19AC, "256s", "UserMatrixLabel")
    enable_matrices: int | None = at(0x1AAC, "i", "EnableMatrices")
    user_matrix: tuple[float, ...] | None = at(0x1AB0, "9f", "cmUser")
    enable_crop: int | None = at(0x1AD4, "i", "EnableCrop")  # display only
    crop_rect: tuple[int, ...] | None = at(0x1AD8, "4i", "CropRect")  # left, top, right, bottom
    enable_resample: int | None = at(0x1AE8, "i", "EnableResample")
    resample_width: int | None = at(0x1AEC, "I", "ResampleWidth")
    resample_height: int | None = at(0x1AF0, "I", "ResampleHeight")
    gain_16_8: float | None = at(0x1AF4, "f", "fGain16_8")
    frp_shape: tuple[int, ...] | None = at(0x1AF8, "16I", "FRPShape")
    trigger_timecode: tuple[int, ...] | None = at(0x1B38, "8B", "TrigTC")
    playback_rate: float | None = at(0x1B40, "f", "fPbRate")
    timecode_rate: float | None = at(0x1B44, "f", "fTcRate")
    cine_name: str | None = at(0x1B48, "256s", "CineName")
    gain_r: float | None = at(0x1C48, "f", "fGainR")
    gain_g: float | None = at(0x1C4C, "f", "fGainG")
    gain_b: float | None = at(0x1C50, "f", "fGainB")
    calibration_matrix: tuple[float, ...] | None = at(0x1C54, "9f", "cmCalib")
    wb_temperature_k: float | None = at(0x1C78, "f", "fWBTemp")
    wb_colour_compensation: float | None = at(0x1C7C, "f", "fWBCc")
    calibration_info: str | None = at(0x1C80, "1024s", "CalibrationInfo")
    optical_filter: str | None = at(0x2080, "1024s", "OpticalFilter")
    gps_info: str | None = at(0x2480, "256s", "GpsInfo")
    uuid: str | None = at(0x2580, "256s", "Uuid")
    created_by: str | None = at(0x2680, "256s", "CreatedBy")
    rec_bpp: int | None = at(0x2780, "I", "RecBPP")  # bits that the camera recorded
    lowest_format_bpp: int | None = at(0x2784, "H", "LowestFormatBPP")
    lowest_format_q: int | None = at(0x2786, "H", "LowestFormatQ")  # 0 unpacked, 256 packed
    toe: float | None = at(0x2788, "f", "fToe")
    log_mode: int | None = at(0x278C, "I", "LogMode")
    camera_model: str | None = at(0x2790, "256s", "CameraModel")
    wb_type: int | None = at(0x2890, "I", "WBType")
    f_decimation: float | None = at(0x2894, "f", "fDecimation")
    mag_serial: int | None = at(0x2898, "I", "MagSerial")
    cs_serial: int | None = at(0x289C, "I", "CSSerial")
    d_frame_rate: float | None = at(0x28A0, "d", "dFrameRate")  # frames per second
    sensor_mode: int | None = at(0x28A8, "I", "SensorMode")
    undecimated_first: int | None = at(0x28AC, "i", "UndecFirst")
    supports_binning: int | None = at(0x28B0, "I", "SupportsBinning")
    uv_sensor: int | None = at(0x28B4, "I", "UvSensor")
    ana_daq_description: str | None = at(0x28B8, "128s", "AnaDaqDescription")
    bin_daq_description: str | None = at(0x2938, "128s", "BinDaqDescription")
    daq_options: int | None = at(0x29B8, "I", "DaqOptions")
