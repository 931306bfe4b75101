"""IONEX files for tests."""


def line(text, label):
    return f"{text:<60}{label}\n"


def ionex(
    maps, *, exponent=-1, latitudes=(87.5, -87.5, -2.5), longitudes=(-180.0, 180.0, 5.0), hours=(0, 2), minute=30
):
    """Return the text of an IONEX file of 1 June 2020 whose maps (time, lat, lon) are in 10**exponent TECU."""
    text = line("     1.0            IONOSPHERE MAPS     GNSS", "IONEX VERSION / TYPE")
    text += line(f"{exponent:6d}", "EXPONENT") + line("   450.0 450.0   0.0", "HGT1 / HGT2 / DHGT")
    text += line("{:8.1f}{:6.1f}{:6.1f}".format(*latitudes), "LAT1 / LAT2 / DLAT")
    text += line("{:8.1f}{:6.1f}{:6.1f}".format(*longitudes), "LON1 / LON2 / DLON") + line("", "END OF HEADER")
    for number, (hour, values) in enumerate(zip(hours, maps, strict=True), start=1):
        text += line(f"{number:6d}", "START OF TEC MAP")
        text += line(f"{2020:6d}{6:6d}{1:6d}{hour:6d}{minute:6d}{0:6d}", "EPOCH OF CURRENT MAP")
        for row, values_row in enumerate(values):
            latitude = latitudes[0] + row * latitudes[2]
            text += line(f"{latitude:8.1f}{longitudes[0]:6.1f}{longitudes[1]:6.1f}{longitudes[2]:6.1f} 450.0",
                         "LAT/LON1/LON2/DLON/H")  # fmt: skip
            for start in range(0, len(values_row), 16):
                text += "".join(f"{value:5d}" for value in values_row[start : start + 16]) + "\n"
        text += line(f"{number:6d}", "END OF TEC MAP")
    return text + line("", "END OF FILE")
