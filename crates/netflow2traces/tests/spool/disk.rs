//! Trouble with the disk.
