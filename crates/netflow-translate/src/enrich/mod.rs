//! What is known of addresses and interfaces besides what records say. Tables are made once from the text of a file
//! and swapped whole; a look-up allocates nothing.

mod csv;
pub mod fields;
pub mod geo;
pub mod interfaces;
pub mod networks;
pub mod prefixes;
