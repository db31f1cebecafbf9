//! Files change, the gateway serves on.

mod files;
mod load;
mod parts;
mod signal;
mod site;
