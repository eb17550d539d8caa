//! CRC-32C of a batch: everything from the attributes (byte 21) to the end.
