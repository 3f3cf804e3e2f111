//! What every flow shares, of whichever protocol: its trace, the work spans around it, a packet's headers.

pub(crate) mod frame;
pub(crate) mod ids;
pub(crate) mod trace;
pub(crate) mod work;
