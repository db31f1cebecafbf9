//! Files change, the gateway serves on.

mod calibration;
mod files;
mod load;
mod parts;
mod signal;
mod site;
