//! What is known of addresses besides what records say: names of networks. Tables are made once from the text of a file
//! and swapped whole; a look-up allocates nothing.

mod csv;
pub mod networks;
pub mod prefixes;
