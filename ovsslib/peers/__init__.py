"""Other systems behind the `Segmenter` interface of PnP-OVSS, a file each."""
